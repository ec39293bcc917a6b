"""A process takes settings and arguments from its agent's Task, and neither asks ClearML nor imports it."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from typing import Any

import pytest

from autoinstrument.clone_run import reader_process, start
from autoinstrument.guard import logger
from autoinstrument.integrations.argparse_values import _editable
from autoinstrument.integrations.parsed_arguments import argument

TASK = {
    "task": "t",
    "run": "r",
    "settings": {"MLFLOW_TRACKING_URI": "http://of-the-task", "AUTOINSTRUMENT_PROJECT": "of the Task"},
    "sections": {"Args": {"lr": "0.5"}},
    "entry_point": "train.py",
    "lineage": {"clearml.cloned_from": "o"},
}


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose agent runs the Task "t"."""
    for name in list(os.environ):
        if name.startswith(("AUTOINSTRUMENT_", "CLEARML_", "TRAINS_", "MLFLOW_")):
            monkeypatch.delenv(name)
    for name in ("MLFLOW_TRACKING_URI", "AUTOINSTRUMENT_PROJECT", "AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_CLONE"):
        monkeypatch.setenv(name, "")  # so that it is removed afterwards
        del os.environ[name]
    monkeypatch.setenv("CLEARML_TASK_ID", "t")
    monkeypatch.setattr(start, "_description", None)
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py"])
    monkeypatch.setattr(sys, "argv", ["train.py"])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Tasks that were read; a reader that answers at once stands in for the process."""
    asked: list[str] = []

    def read(task_id: str) -> str:
        asked.append(task_id)
        return json.dumps(TASK)

    monkeypatch.setattr(reader_process, "read", read)
    return asked


def test_settings_of_the_machine_come_before_those_of_the_task(
    reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_PROJECT", "of the machine")
    assert start.begin()
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://of-the-task"
    assert os.environ["AUTOINSTRUMENT_PROJECT"] == "of the machine"
    assert os.environ["AUTOINSTRUMENT_ENABLED"] == "1"


def test_children_do_not_ask_again(reads: list[str]) -> None:
    assert start.begin()
    start._description = None  # as in a child process, which inherits the variable
    assert start.begin()
    assert reads == ["t"]
    assert start.origin("t") == TASK["lineage"]
    assert start.origin("another") == {}


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        (["python", "-c", "pass"], {}),
        (["python", "-m", "pip", "install", "x"], {}),
        (["python", "train.py"], {"CLEARML_OFFLINE_MODE": "1"}),
    ],
)
def test_processes_that_do_not_ask(
    command: list[str], variables: dict[str, str], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", command)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not start.begin()
    assert reads == []
    assert "AUTOINSTRUMENT_ENABLED" not in os.environ


def test_a_task_without_settings_gives_its_origin_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {"task": "t", "run": "r", "lineage": {"clearml.cloned_from_run": "r"}}
    monkeypatch.setattr(reader_process, "read", lambda _: json.dumps(bare))
    assert not start.begin()
    assert start.origin("t") == bare["lineage"]
    assert "AUTOINSTRUMENT_ENABLED" not in os.environ


@pytest.mark.parametrize("answer", ["", "no JSON"])
def test_a_task_that_cannot_be_read_changes_nothing(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_process, "read", lambda _: answer)
    before = dict(os.environ)
    assert not start.begin()
    assert dict(os.environ) == before


def test_a_reader_that_fails_is_logged_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reader_process, "_CODE", "import sys; sys.exit('first\\nno such Task')")
    log = __import__("autoinstrument.guard", fromlist=["logger"]).logger()
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level("WARNING", "autoinstrument"):
        assert reader_process.read("t") == ""
    assert caplog.messages[-1].endswith("its settings do not count: no such Task")


def test_a_parser_gets_the_parameters_of_the_task(
    reads: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the Task lacks a command line; values that the parser does not know, or cannot take, are left out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    read = functools.partial(_editable, parser)
    assert start.edited(lambda values: list(read(values))) is None
    start.begin()
    assert start.edited(lambda values: list(read(values))) == ["--lr=0.5"]
    assert start._description is not None
    start._description["sections"]["Args"] = {"lr": "fast", "unknown": "1", "command": "none"}
    logger().addHandler(caplog.handler)
    try:
        assert start.edited(lambda values: list(read(values))) == []
    finally:
        logger().removeHandler(caplog.handler)
    assert "Args/lr: 'fast' is not understood" in caplog.text
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "3"])
    assert start.edited(lambda values: list(read(values))) is None


LINE = {
    "arguments": [argument("lr", "1", default="0.1", options={"--lr": 1}), argument("n", 2, options={"-n": 1})],
    "words": [["lr", "--lr", "1"], ["n", "-n2"]],
}


@pytest.mark.parametrize(
    ("argv", "line", "taken"),
    [
        ([], json.dumps(LINE), ["--lr", "0.5", "-n2"]),
        (["--its", "own"], json.dumps(LINE), ["--its", "own"]),
        ([], "edited by somebody", []),
    ],
)
def test_the_command_line_of_the_task_with_its_parameters(
    argv: list[str], line: str, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_process, "read", lambda _: json.dumps({**TASK, "command_line": line}))
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    assert start.begin()
    assert sys.argv[1:] == taken


@pytest.mark.parametrize(
    ("argv", "line", "taken"),
    [
        (["--lr", "1"], "--lr 2 'a b'", ["--lr", "2", "a b"]),
        (["--other"], "--lr 2", ["--other"]),  # a helper's own arguments
        (["--lr", "1"], "'", ["--lr", "1"]),
    ],
)
def test_a_program_without_a_parser_gets_the_line_of_the_task(
    argv: list[str], line: str, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task: dict[str, Any] = {**TASK, "sections": {"Args": {"argv": line}}, "entry_point": "train.py --lr 1"}
    monkeypatch.setattr(reader_process, "read", lambda _: json.dumps(task))
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    assert start.begin()
    assert sys.argv[1:] == taken
