"""Nothing is sent that the server cannot store, whichever way it goes."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api import sdk, storable
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task
from tests.clearml_server import ClearMLServer
from tests.startup.environment import ROOT


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("plain ä 🏃\n", "plain ä 🏃\n"),
        ("raw\udcff", "raw\\xff"),
        ("\udcc3\udca4", "ä"),  # an argument in UTF-8 as the C locale decodes it
        ("\udcc3\udca4 and \udcff", "ä and \\xff"),
        ("\ud83d\ude00", "😀"),
        ("\ud800", "\\ud800"),
        ("a\0b", "a\\x00b"),
        ("a\x1b[1mb\tc", "a\x1b[1mb\tc"),
    ],
)
def test_text(given: str, text: str) -> None:
    assert storable.text(given) == text
    assert storable.text(text) == text


def test_names_have_no_control_characters() -> None:
    assert storable.name("a\x1b[1m\nb\x7f\udcff") == "a\\x1b[1m\\x0ab\\x7f\\xff"


def test_values_fit() -> None:
    nested: Any = []
    for _ in range(300):
        nested = [nested]
    fit = storable.value({"a\0": (2**70, -(2**70), True, 0.5, None, "\udcff"), "deep": nested})
    assert fit["a\\x00"] == [2**63 - 1, -(2**63), True, 0.5, None, "\\xff"]
    depth, value = 0, fit["deep"]
    while isinstance(value, list):
        depth, value = depth + 1, value[0]
    assert depth < 95


SENT: dict[str, Callable[[Session, str], Any]] = {
    "call": lambda session, task: session.call("tasks.edit", task=task, comment="a\udcff\0", force=True),
    "call_once": lambda session, task: session.call_once("tasks.edit", task=task, comment="a\udcff\0", force=True),
    "add_events": lambda session, task: session.add_events(
        [{"type": "log", "task": task, "timestamp": 2**70, "level": "info", "msg": "a\udcff\0"}]
    ),
}


@pytest.mark.parametrize("way", SENT)
@pytest.mark.parametrize("task", ["running"], indirect=True)
def test_every_way_makes_values_storable(server: ClearMLServer, session: Session, task: Task, way: str) -> None:
    SENT[way](session, task.id)
    assert "a\\xff\\x00" in (server.task(task.id).get("comment") or server.console(task.id))


def test_there_is_no_other_way() -> None:
    """Only `sdk` names the SDK's calls that send, and only `session` calls `sdk`'s, with values made storable."""
    callers: dict[str, set[str]] = {"sdk": set(), "session": set()}
    for file in (ROOT / "autoinstrument").rglob("*.py"):
        name = file.relative_to(ROOT / "autoinstrument").as_posix()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                if node.attr in ("send_request", "send_request_batch", "send_async"):
                    callers["sdk"].add(name)
                if node.attr in ("send", "send_batch") and isinstance(node.value, ast.Name) and node.value.id == "sdk":
                    callers["session"].add(name)
    assert callers == {"sdk": {"clearml_api/sdk.py"}, "session": {"clearml_api/session.py"}}
    assert {"send", "send_batch"} <= set(vars(sdk))
    assert Path(storable.__file__).exists()
