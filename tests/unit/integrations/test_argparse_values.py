"""The agent reads what argparse parses without changing it. Most cases are separate processes: `sys.argv` is global."""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys

import pytest

from autoinstrument.integrations.argparse_values import watch
from autoinstrument.integrations.parsed_arguments import parsed
from tests.unit.repositories import ROOT

WATCH = """
import argparse, json, sys
from autoinstrument.integrations.argparse_values import watch
from autoinstrument.integrations.parsed_arguments import parsed
watch(argparse)
"""
SHOW = "\nprint(json.dumps({name: [value, kind] for name, value, kind in parsed()}))"


@pytest.fixture
def parse(run):
    def parse(code, *arguments):
        return json.loads(run("-c", WATCH + code + SHOW, *arguments).splitlines()[-1])

    return parse


PARSER = """
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--name")
parser.add_argument("--fast", action="store_true")
parser.add_argument("--layers", nargs="*", type=int, default=[1, 2])
parser.add_argument("data", nargs="?", default="mnist")
"""


def test_values_by_name_with_their_types(parse):
    assert parse(PARSER + "parser.parse_args()", "--lr", "0.5", "--layers", "3", "4") == {
        "lr": ["0.5", "float"],
        "epochs": ["3", "int"],
        "name": ["", "NoneType"],
        "fast": ["False", "bool"],
        "layers": ["[3, 4]", "list"],
        "data": ["mnist", "str"],
    }


def test_help_texts(run):
    """Those of sub-commands too; the default of a secret stays hidden."""
    code = """
from autoinstrument.integrations.parsed_arguments import help_texts
parser = argparse.ArgumentParser()
parser.add_argument("--lr", default=0.1, help="step size (default: %(default)s), 5 %% at most")
parser.add_argument("--api-key", default="hunter2", help="key (%(default)s)")
parser.add_argument("--quiet", help=argparse.SUPPRESS)
parser.add_subparsers().add_parser("fit").add_argument("--depth", help="x" * 5000)
parser.parse_args()
print(json.dumps(help_texts()))
"""
    found = json.loads(run("-c", WATCH + code, "fit").splitlines()[-1])
    assert len(found.pop("depth")) == 1000
    assert found == {"lr": "step size (default: 0.1), 5 % at most", "api_key": "key (********)"}


@pytest.mark.parametrize(
    "call",
    [
        "parser.parse_args(sys.argv[1:])",
        "parser.parse_args(tuple(sys.argv[1:]))",
        "parser.parse_known_args()",
        "parser.parse_args(namespace=argparse.Namespace())",
        "parser.parse_intermixed_args()",
        "parser.parse_known_intermixed_args()",
    ],
)
def test_every_way_to_read_the_command_line(parse, call):
    values = parse(PARSER + call, "imagenet", "--lr", "0.5")
    assert values["lr"] == ["0.5", "float"]
    assert values["data"] == ["imagenet", "str"]


def test_values_are_those_of_the_time_of_parsing(parse):
    assert parse(PARSER + "args = parser.parse_args(); args.lr = 3; args.layers.append(7)")["lr"] == ["0.1", "float"]


def test_other_lists_are_not_the_command_line(parse):
    assert parse(PARSER + "parser.parse_args(['--lr', '7'])") == {}


def test_two_parsers_of_one_command_line(parse):
    code = (
        "first = argparse.ArgumentParser(add_help=False); first.add_argument('--config')\n"
        "_, rest = first.parse_known_args()\n"
        "second = argparse.ArgumentParser(parents=[first]); second.add_argument('--lr', type=float)\n"
        "second.parse_args()"
    )
    assert parse(code, "--config", "a", "--lr", "1") == {"config": ["a", "str"], "lr": ["1.0", "float"]}


def test_sub_commands(parse):
    code = (
        "parser = argparse.ArgumentParser(); commands = parser.add_subparsers(dest='command')\n"
        "def handler(args): pass\n"
        "train = commands.add_parser('train'); train.add_argument('--lr', type=float)\n"
        "train.set_defaults(func=handler); parser.parse_args()"
    )
    assert parse(code, "train", "--lr", "1") == {"command": ["train", "str"], "lr": ["1.0", "float"]}


def test_secrets_are_hidden(parse):
    code = (
        "parser = argparse.ArgumentParser()\n"
        "for name in ('--hf-token', '--max-tokens', '--store', '--password', '--api-key'): parser.add_argument(name)\n"
        "parser.add_argument('--use-auth-token', action='store_true'); parser.parse_args()"
    )
    values = parse(code, "--hf-token", "x1", "--max-tokens", "5", "--store", "pg://u:x2@h/d", "--api-key", "x3")
    assert {name: value for name, (value, _) in values.items()} == {
        "hf_token": "********",
        "max_tokens": "5",
        "store": "pg://u:********@h/d",
        "password": "",
        "api_key": "********",
        "use_auth_token": "False",
    }


def test_a_value_that_cannot_be_shown_is_left_out(parse):
    code = (
        "class Bad:\n    def __init__(self, text): pass\n    def __str__(self): raise RuntimeError\n"
        "parser = argparse.ArgumentParser(); parser.add_argument('--bad', type=Bad); parser.add_argument('--lr')\n"
        "parser.parse_args()"
    )
    assert parse(code, "--bad", "x", "--lr", "1") == {"lr": ["1", "str"]}


def test_command_line_in_one_piece_without_a_parser(parse):
    assert parse("", "train", "--lr=0.1", "my file") == {"argv": ["train --lr=0.1 'my file'", ""]}
    assert parse("") == {}


class TestUnchanged:
    """A program sees no change of argparse."""

    @pytest.fixture(autouse=True)
    def watched(self, monkeypatch):
        original = argparse.ArgumentParser.parse_known_args
        monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", original)
        monkeypatch.setattr("autoinstrument.integrations.argparse_values._watched", [])
        monkeypatch.setattr("autoinstrument.integrations.parsed_arguments._arguments", {})
        self.original = original
        watch(argparse)

    def test_function(self):
        function = argparse.ArgumentParser.parse_known_args
        assert function is not self.original
        for attribute in ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__"):
            assert getattr(function, attribute) == getattr(self.original, attribute)
        assert inspect.signature(function) == inspect.signature(self.original)
        assert inspect.isfunction(function)

    def test_watching_twice_is_watching_once(self):
        function = argparse.ArgumentParser.parse_known_args
        watch(argparse)
        assert argparse.ArgumentParser.parse_known_args is function

    def test_result_is_the_same_object(self, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["prog"])
        namespace = argparse.Namespace()
        assert argparse.ArgumentParser().parse_args(namespace=namespace) is namespace

    def test_exceptions_pass(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["prog", "--unknown"])
        with pytest.raises(SystemExit) as caught:
            argparse.ArgumentParser().parse_args()
        assert caught.value.code == 2
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument("--lr", type=float)
        with pytest.raises(argparse.ArgumentError):
            parser.parse_args(["--lr", "x"])
        with pytest.raises(TypeError):
            argparse.ArgumentParser().parse_known_args(1, 2, 3)

    def test_nesting_is_left_when_a_parser_raises(self, monkeypatch, capsys):
        self.test_exceptions_pass(monkeypatch, capsys)
        monkeypatch.setattr(sys, "argv", ["prog", "--lr", "1"])
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr")
        parser.parse_args()
        assert parsed() == [("lr", "1", "str")]

    def test_pickle_goes_by_name_as_before(self):
        """In a separate process: importing clearml, as other tests do, patches argparse permanently."""
        code = (
            "import sys; sys.path.insert(0, sys.argv.pop()); import argparse, copy, pickle\n"
            "from autoinstrument.integrations.argparse_values import watch; watch(argparse)\n"
            "for thing in (argparse.ArgumentParser, argparse.ArgumentParser.parse_known_args):\n"
            "    assert pickle.loads(pickle.dumps(thing)) is thing\n"
            "assert copy.copy(argparse.ArgumentParser(prog='prog')).prog == 'prog'\n"
        )
        subprocess.run([sys.executable, "-I", "-c", code, str(ROOT)], check=True)


def test_watching_loads_nothing():
    """The hook runs in every process that imports argparse, MLflow or not."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop()); import argparse; before = set(sys.modules)\n"
        "from autoinstrument.integrations.argparse_values import watch; watch(argparse)\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "autoinstrument",
        "autoinstrument.integrations",
        "autoinstrument.integrations.argparse_values",
        "autoinstrument.integrations.parsed_arguments",
        "autoinstrument.tracebacks",
        "__future__",
    }
