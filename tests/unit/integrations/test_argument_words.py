"""The words of a command line that give an argument; the table of hooks reaches the parsers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from autoinstrument.integrations.argument_words import attributed
from autoinstrument.integrations.parsed_arguments import MANY, MAYBE, argument
from autoinstrument.records import Argument

ARGUMENTS = [
    argument("lr", 1, options={"--lr": 1, "-l": 1}),
    argument("verbose", 1, options={"--verbose": 0, "-v": 0}, form="count"),
    argument("dry", True, options={"-x": 0}, form="flag", flags={"True": "-x"}),
    argument("layers", [1], options={"--layers": MANY}, form="list"),
    argument("log", "x", options={"--log": MAYBE}),
    argument("data", "d", options={"": 1}),
    argument("more", ["e"], options={"": MANY}, form="list"),
]
BELOW = [
    argument("data", "d", options={"": 1}),
    argument("command", "fit", options={"": 1}, form="command"),
    argument("steps", 3, options={"": 1}, level=1),
    argument("fit/lr", 3, options={"--lr": 1}, level=1),
]


def present(arguments: list[Argument | None]) -> list[Argument]:
    return [one for one in arguments if one is not None]


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ("--lr 2 d", "lr:--lr,2 data:d"),
        ("--lr=2 d e f", "lr:--lr=2 data:d more:e more:f"),
        ("-l2 -l 3 d", "lr:-l2 lr:-l,3 data:d"),
        ("--verb --lay 1 2 -v d", "verbose:--verb layers:--lay,1,2 verbose:-v data:d"),
        ("-vv -xv -xl2 d", "verbose:-vv dry:-x verbose:-v dry:-x lr:-l2 data:d"),
        ("--layers 1 -2 -- -d --lr", "layers:--layers,1,-2 :-- data:-d more:--lr"),
        ("d --log --lr 2 --log e", "data:d log:--log lr:--lr,2 log:--log,e"),
        ("--unknown d -5", ":--unknown data:d more:-5"),
        ("", ""),
    ],
)
def test_words_of_arguments(words: str, groups: str) -> None:
    wanted = [[name, *given.split(",")] for name, _, given in (group.partition(":") for group in groups.split())]
    assert attributed(words.split(), present(ARGUMENTS)) == wanted


def test_words_of_a_sub_command() -> None:
    """A positional argument before it may have the sub-command's name as its value."""
    assert attributed(["fit", "fit", "--lr", "2", "9"], present(BELOW)) == [
        ["data", "fit"], ["command", "fit"], ["fit/lr", "--lr", "2"], ["steps", "9"],
    ]  # fmt: skip


def test_values_of_secrets_are_hidden_in_every_form() -> None:
    secret = present([argument("pin", "hunter2", options={"--pin": 1, "-p": 1, "--pins": 2}, secret=True)])
    words = ["--pin", "hunter2", "--pin=hunter2", "-phunter2", "-p", "hunter2", "--pins", "hunter2", "hunter2"]
    groups = attributed([*words, "--token", "hunter2"], secret)
    assert "hunter2" not in repr(groups)
    assert [group[1] for group in groups[:3]] == ["--pin", "--pin=********", "-p********"]


PROGRAMS = {
    "argparse": "p = argparse.ArgumentParser(); p.add_argument('--lr', type=float); p.parse_args()",
    "click": "click.Command('train', params=[click.Option(['--lr'], type=float)]).main(standalone_mode=False)",
    "typer": "app = typer.Typer()\n@app.command()\ndef train(lr: float = 0.1): pass\napp(standalone_mode=False)",
    "absl.app": "from absl import flags; flags.DEFINE_float('lr', 0.1, ''); absl.app.run(lambda _: show())",
    "fire": "fire.Fire(lambda lr: None)",
    "simple_parsing": (
        "from dataclasses import dataclass\n@dataclass\nclass Options:\n lr: float = 0.1\n"
        "p = simple_parsing.ArgumentParser(); p.add_arguments(Options, dest='of'); p.parse_args()"
    ),
    "transformers": (
        "from dataclasses import dataclass\n@dataclass\nclass Options:\n lr: float = 0.1\n"
        "transformers.HfArgumentParser(Options).parse_args_into_dataclasses()"
    ),
    "tyro": "def train(lr: float = 0.1): pass\ntyro.cli(train)",
    "jsonargparse": "p = jsonargparse.ArgumentParser(); p.add_argument('--lr', type=float); p.parse_args()",
}


@pytest.mark.interpreter
@pytest.mark.parametrize("library", PROGRAMS)
def test_the_hooks_reach_the_parser_of(library: str, run: Callable[..., str]) -> None:
    pytest.importorskip(library)
    code = (
        "import json\nfrom autoinstrument.bootstrap import import_hook\nimport_hook.arm()\n"
        "from autoinstrument.integrations.argument_words import read_line\n"
        "from autoinstrument.integrations.parsed_arguments import parsed\n"
        "def show(): print(json.dumps([parsed(), read_line()['words']]))\n"
        f"import {library}\n{PROGRAMS[library]}\nshow()"
    )
    parsed, words = json.loads(run("-c", code, "--lr", "0.5").splitlines()[0])
    ((name, value, kind),) = parsed
    assert (name.removeprefix("of."), value, kind) == ("lr", "0.5", "float")
    assert words == [[name, "--lr", "0.5"]]


def test_a_parser_that_is_not_read_leaves_one_line(run: Callable[..., str]) -> None:
    code = (
        "import json\nfrom autoinstrument.bootstrap import import_hook\nimport_hook.arm()\n"
        "import getopt, sys\nfrom autoinstrument.integrations.parsed_arguments import parsed\n"
        "getopt.getopt(sys.argv[1:], '', ['lr='])\nprint(json.dumps(parsed()))"
    )
    assert json.loads(run("-c", code, "--lr", "0.5")) == [["argv", "--lr 0.5", ""]]
