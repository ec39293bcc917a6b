"""The Task that a process has already: an agent's, or the script's own."""

from __future__ import annotations

import os
import sys
import types

import pytest

from autoinstrument.integrations.clearml_current_task import existing_task_id, has_made_task


@pytest.fixture(autouse=True)
def no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARML_TASK_ID", "TRAINS_TASK_ID", "CLEARML_PROC_MASTER_ID"):
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
    assert not has_made_task()


@pytest.mark.parametrize(("offset", "given", "made"), [(0, "", True), (1, "", False), (0, "abc", False)])
def test_the_process_that_has_made_the_task(
    offset: int, given: str, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a child that has inherited it, nor one that an agent has started for it."""
    task = type("Task", (), {"_Task__main_task": types.SimpleNamespace(id="abc")})
    monkeypatch.setitem(sys.modules, "clearml.task", types.SimpleNamespace(Task=task))
    monkeypatch.setenv("CLEARML_PROC_MASTER_ID", f"{os.getpid() + offset}:abc")
    monkeypatch.setenv("CLEARML_TASK_ID", given)
    assert has_made_task() is made


def test_the_sdk_keeps_the_id_of_that_process_in_that_variable() -> None:
    from clearml.config.defs import PROC_MASTER_ID_ENV_VAR

    assert PROC_MASTER_ID_ENV_VAR.key == "CLEARML_PROC_MASTER_ID"
