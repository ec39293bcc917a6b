"""The Task that a process has already: an agent's, or the script's own."""

from __future__ import annotations

import sys
import types

import pytest

from autoinstrument.integrations.clearml_current_task import existing_task_id


@pytest.fixture(autouse=True)
def no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARML_TASK_ID", "TRAINS_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "clearml.task", raising=False)


@pytest.mark.parametrize("name", ["CLEARML_TASK_ID", "TRAINS_TASK_ID"])
def test_the_task_that_an_agent_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "abc")
    assert existing_task_id() == "abc"


@pytest.mark.parametrize(
    ("main_task", "found"),
    [
        (types.SimpleNamespace(id="abc"), "abc"),
        (types.SimpleNamespace(id="offline-abc"), ""),
        (types.SimpleNamespace(id=None), ""),
        (None, ""),
    ],
)
def test_the_main_task_of_a_script(main_task: object, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = type("Task", (), {"_Task__main_task": main_task})
    monkeypatch.setitem(sys.modules, "clearml.task", types.SimpleNamespace(Task=task))
    assert existing_task_id() == found


def test_the_sdk_keeps_its_main_task_in_that_place() -> None:
    from clearml import Task

    assert hasattr(Task, "_Task__main_task")


def test_nothing_is_found_without_clearml() -> None:
    assert existing_task_id() == ""
