"""The script's own parser gives the values of a clone's parameters, for each kind of argument that argparse has."""

from __future__ import annotations

import argparse
import json
import sys
from enum import Enum
from pathlib import Path

import pytest

from autoinstrument.clone_run.command_line import line_of, overrides, rewritten, with_overrides
from autoinstrument.clone_run.origin import changes
from autoinstrument.clone_run.settings import read
from autoinstrument.integrations.argparse_values import read as read_arguments
from autoinstrument.integrations.argument_words import attributed
from autoinstrument.records import CommandLine


class Kind(Enum):
    ADAM = "adam"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("-l", "--lr", type=float, default=0.1)
    made.add_argument("--name")
    made.add_argument("--kind", type=Kind, choices=list(Kind), default=None)
    made.add_argument("--truth", type=bool, default=True)
    made.add_argument("--fast", action="store_true")
    made.add_argument("--slow", action="store_false")
    made.add_argument("--cache", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("-v", action="count", default=0)
    made.add_argument("--layers", nargs="+", type=int, default=[8])
    made.add_argument("--pair", nargs=2, default=None)
    made.add_argument("--tag", action="append", default=None)
    made.add_argument("--mode", action="store_const", const="deep", default="flat")
    commands = made.add_subparsers(dest="command")
    fit = commands.add_parser("fit")
    fit.add_argument("steps", type=int)
    fit.add_argument("data", nargs="?", default="mnist", type=Path)
    fit.add_argument("--warm", action="store_true")
    commands.add_parser("test")
    return made


GIVEN = [
    "--lr=-0.5", "--name", "it's", "--truth", "", "--fast", "--slow", "--no-cache", "-vv", "--layers", "1", "2",
    "--pair", "a", "b", "--tag", "t1", "--tag", "t,2", "--mode", "fit", "3", "d/x y", "--warm",
]  # fmt: skip


def line(given: list[str], by: argparse.ArgumentParser | None = None) -> CommandLine:
    """Return a Task's description of the command line of a script."""
    used = by or parser()
    arguments = [item for item in read_arguments(used, vars(used.parse_args(given))) if item is not None]
    return {"arguments": arguments, "words": attributed(given, arguments)}


def shown(line: CommandLine) -> dict[str, str]:
    """Return the section `Args` of that Task."""
    return {item["name"]: item["value"] for item in line["arguments"]}


@pytest.mark.parametrize("given", [[], GIVEN], ids=["defaults", "all given"])
def test_unedited_values_come_back_as_they_were(given: list[str]) -> None:
    assert rewritten(line(given), shown(line(given))) == given


@pytest.mark.parametrize("given", [[], GIVEN], ids=["defaults", "all given"])
def test_values_give_a_command_line_where_its_words_are_not_known(given: list[str]) -> None:
    wordless: CommandLine = {**line(given), "words": None}
    assert parser().parse_args(rewritten(wordless, shown(wordless))) == parser().parse_args(given)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data", "other", Path("other")),
        ("lr", "1e-3", 0.001),
        ("lr", "0.1", 0.1),
        ("name", "-x --fast", "-x --fast"),
        ("truth", "yes", True),
        ("truth", "false", False),
        ("fast", "False", False),
        ("slow", "true", True),
        ("cache", "1", True),
        ("v", "1", 1),
        ("layers", "[5, 6, 7]", [5, 6, 7]),
        ("layers", "5, 6", [5, 6]),
        ("layers", "9", [9]),
        ("pair", "('c', 'd')", ["c", "d"]),
        ("tag", "['one']", ["one"]),
        ("mode", "flat", "flat"),
        ("steps", "10", 10),
        ("warm", "no", False),
        ("command", "test", "test"),
    ],
)
def test_an_edited_value_is_the_one_that_the_parser_gives(name: str, text: str, value: object) -> None:
    before = line(GIVEN)
    given = parser().parse_args(GIVEN)
    for words in (before["words"], None):
        edited = parser().parse_args(rewritten({**before, "words": words}, shown(before) | {name: text}))
        assert getattr(edited, name) == value
        if name != "command":
            assert {**vars(edited), name: 0} == {**vars(given), name: 0}


@pytest.mark.parametrize("name", ["lr", "name", "truth", "fast", "cache", "v", "layers", "pair", "tag"])
def test_an_argument_that_was_not_given_is_added(name: str) -> None:
    """Before the sub-command, and without a change to the others; then the clone is a clone's origin in its turn."""
    wanted = shown(line(GIVEN))[name]
    before = line(["fit", "3"])
    words = rewritten(before, shown(before) | {name: wanted})
    assert words[-2:] == ["fit", "3"]
    assert shown(line(words)) == shown(before) | {name: wanted}


def test_values_that_the_parser_refuses_are_left_to_it() -> None:
    """The parser reports its own error; a hidden value is left out, so that the default counts."""
    before = line(["--lr", "2", "--name", "x"])
    assert rewritten(before, {"lr": "fast", "unknown": "1"}) == ["--lr", "fast", "--name", "x", "--unknown=1"]
    assert rewritten(before, {"name": "********"}) == ["--lr", "2", "--name", "x"]
    hidden: CommandLine = {**before, "words": [["lr", "--lr", "2"], ["name", "--name", "http://u:********@h"]]}
    assert rewritten(hidden, {}) == ["--lr", "2"]
    assert rewritten(hidden, {"name": "y"}) == ["--lr", "2", "--name=y"]


def test_another_sub_command_has_its_own_arguments() -> None:
    before = line(["--fast", "fit", "3", "--warm"])
    assert rewritten(before, shown(before) | {"command": "test"}) == ["--fast", "test"]


def test_sub_commands_without_a_name_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "fit", "--steps", "3"])
    made = argparse.ArgumentParser()
    made.add_subparsers().add_parser("fit").add_argument("--steps", type=int)
    before = line(["fit", "--steps", "3"], made)
    (name,) = shown(before).keys() - {"steps"}  # "command", or what ClearML's binding of argparse gives it
    assert shown(before) == {name: "fit", "steps": "3"}
    assert rewritten(before, shown(before) | {"steps": "4"}) == ["fit", "--steps", "4"]


def test_values_that_the_program_has_set_are_not_arguments() -> None:
    made = argparse.ArgumentParser()
    made.set_defaults(version="1")
    before = line([], made)
    assert rewritten(before, {"version": "2"}) == []


def test_changed_overrides_replace_those_that_were_given() -> None:
    made = argparse.ArgumentParser()
    made.add_argument("overrides", nargs="*")
    before = line(["lr=0.1", "db.password=x"], made)
    section = {"lr": "0.1", "db.password": "********"}
    assert rewritten(before, with_overrides(before, {}, section)) == ["lr=0.1"]
    assert rewritten(before, with_overrides(before, {}, section | {"depth": "5"})) == ["lr=0.1", "depth=5"]
    assert with_overrides(before, {"overrides": "['x']"}, {}) == {"overrides": "['x']"}  # a name like any other


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", '{"arguments": [], "words": [[]]}', '{"arguments": [{}], "words": []}']
)
def test_texts_that_are_not_command_lines(text: str) -> None:
    """Anybody may edit a configuration object in ClearML's pages."""
    assert line_of(text) is None


def test_a_line_survives_as_text() -> None:
    assert line_of(json.dumps(line(GIVEN))) == line(GIVEN)


def test_overrides_of_hydra_are_written_as_typed() -> None:
    section = {"optimizer.lr": "0.1", "+new": "[1,2]", "~gone": "", "~model": "big", "empty": ""}
    assert overrides(section) == ["optimizer.lr=0.1", "+new=[1,2]", "~gone", "~model=big", "empty="]


def test_settings_of_other_packages_do_not_travel() -> None:
    """Data of the server sets no other variable, and none that breaks a process."""
    text = (
        "# a comment\nMLFLOW_TRACKING_URI = http://m:5000\nAUTOINSTRUMENT_TASK={run_name} = x\nLD_PRELOAD=/tmp/x.so\n"
        "AUTOINSTRUMENT_HOME=/tmp\nMLFLOW_TRACKING_TOKEN=t\nAUTOINSTRUMENT_PROJECT=\nno line\n"
        f"MLFLOW_EXPERIMENT_NAME={'x' * 200_000}\nAUTOINSTRUMENT_WORKER=thr\x00ead\n"
    )
    assert read(text) == {"MLFLOW_TRACKING_URI": "http://m:5000", "AUTOINSTRUMENT_TASK": "{run_name} = x"}


def test_changes_are_listed_without_secrets() -> None:
    """A person may have typed a secret into the clone, and many people read MLflow's tags."""
    before = {"Args": {"lr": "0.1", "password": "********", "same": "1"}, "MLflow": {"lr": "0.1"}}
    after = {
        "Args": {"lr": "0.2", "password": "hunter2", "same": "1", "argv": "--lr 2 --api-key=hunter2"},
        "Hydra": {"db.url": "pg://user:hunter2@host/x"},
    }
    assert changes(before, after) == [
        "Args/argv: (none) -> --lr 2 '--api-key=********'",
        "Args/lr: 0.1 -> 0.2",
        "Args/password: ******** -> ********",
        "Hydra/db.url: (none) -> pg://user:********@host/x",
    ]
