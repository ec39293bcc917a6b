"""What a clone's parameters say is what the script's own parser gives, for each kind of argument that argparse has."""

from __future__ import annotations

import argparse
from enum import Enum
from pathlib import Path

import pytest

from autoinstrument.clone_run.command_line import arguments_for, overrides
from autoinstrument.clone_run.origin import changes
from autoinstrument.clone_run.settings import read
from autoinstrument.guard import logger


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


def shown(values: argparse.Namespace) -> dict[str, str]:
    """Return the section `Args` of a Task whose script has parsed these."""
    return {name: "" if value is None else str(value) for name, value in vars(values).items()}


@pytest.mark.parametrize("given", [[], GIVEN], ids=["defaults", "all given"])
def test_unedited_values_come_back_as_they_were(given: list[str]) -> None:
    before = parser().parse_args(given)
    assert parser().parse_args(arguments_for(parser(), shown(before))) == before


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
    edited = shown(parser().parse_args(GIVEN)) | {name: text}
    assert getattr(parser().parse_args(arguments_for(parser(), edited)), name) == value


def test_what_is_no_value_leaves_the_default_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    edited = {"lr": "fast", "name": "********", "unknown": "1", "command": "none"}
    logger().addHandler(caplog.handler)
    try:
        assert arguments_for(parser(), edited) == []
    finally:
        logger().removeHandler(caplog.handler)
    assert "Args/lr: 'fast' is not understood" in caplog.text


def test_overrides_of_hydra_are_written_as_typed() -> None:
    section = {"optimizer.lr": "0.1", "+new": "[1,2]", "~gone": "", "~model": "big", "empty": ""}
    assert overrides(section) == ["optimizer.lr=0.1", "+new=[1,2]", "~gone", "~model=big", "empty="]


def test_settings_that_are_not_ours_do_not_travel() -> None:
    """What comes back from the server is data: a Task sets no other variable, and none that breaks a process."""
    text = (
        "# a comment\nMLFLOW_TRACKING_URI = http://m:5000\nAUTOINSTRUMENT_TASK={run_name} = x\nLD_PRELOAD=/tmp/x.so\n"
        "AUTOINSTRUMENT_HOME=/tmp\nMLFLOW_TRACKING_TOKEN=t\nAUTOINSTRUMENT_PROJECT=\nno line\n"
        f"MLFLOW_EXPERIMENT_NAME={'x' * 200_000}\nAUTOINSTRUMENT_WORKER=thr\x00ead\n"
    )
    assert read(text) == {"MLFLOW_TRACKING_URI": "http://m:5000", "AUTOINSTRUMENT_TASK": "{run_name} = x"}


def test_what_was_changed_is_told_without_secrets() -> None:
    """Somebody may have typed one into the clone, and MLflow's tags are read by many."""
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
