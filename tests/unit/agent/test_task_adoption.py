from __future__ import annotations

import pytest

from autoinstrument.agent import task_adoption
from autoinstrument.agent.task_adoption import TaskAdoption
from autoinstrument.records import TaskFound
from tests.unit.agent.test_tracked_run import STARTED

FIRST, SECOND = (STARTED._replace(run_id=name) for name in ("first", "second"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARML_TASK_ID", "TRAINS_TASK_ID", "CLEARML_SIMULATE_REMOTE_TASK"):
        monkeypatch.delenv(name, raising=False)


def test_the_first_top_level_run_takes_the_task_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run gets a separate Task."""
    monkeypatch.setenv("CLEARML_TASK_ID", "task")
    adoption = TaskAdoption()
    for other in (FIRST._replace(parent_run_id="parent"), FIRST._replace(owned=False)):
        assert adoption.adopt(other).task_id == ""
    assert adoption.adopt(FIRST).task_id == "task"
    assert adoption.adopt(SECOND).task_id == ""
    assert adoption.look() is None


def test_a_task_that_is_made_after_the_run_began_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    adoption = TaskAdoption()
    assert not adoption.is_expected
    assert adoption.adopt(FIRST).task_id == ""
    assert adoption.is_expected
    assert adoption.look() is None
    monkeypatch.setenv("CLEARML_TASK_ID", "task")
    assert adoption.look() == TaskFound("first", "task")
    assert adoption.look() is None


def test_a_script_that_takes_over_the_agents_task_has_a_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """ClearML's own: before the run began, or after it, which is reported once."""
    initialized = [True]
    monkeypatch.setattr(task_adoption, "is_initialized", lambda: initialized[0])
    monkeypatch.setenv("CLEARML_TASK_ID", "task")
    adoption = TaskAdoption()
    assert adoption.adopt(FIRST).has_own_monitor
    assert not adoption.is_expected
    assert not adoption.adopt(SECOND).has_own_monitor
    adoption, initialized[0] = TaskAdoption(), False
    assert not adoption.adopt(FIRST).has_own_monitor
    assert adoption.is_expected
    assert adoption.look() is None
    initialized[0] = True
    assert adoption.look() == TaskFound("first", "task")
    assert adoption.look() is None
    assert not adoption.is_expected


def test_a_task_without_a_run_is_left_to_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_TASK_ID", "task")
    adoption = TaskAdoption()
    assert adoption.look() is None
    assert adoption.adopt(FIRST).task_id == "task"


def test_a_second_task_of_the_script_goes_to_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_TASK_ID", "task")
    adoption = TaskAdoption()
    adoption.adopt(FIRST)
    monkeypatch.setenv("CLEARML_TASK_ID", "another")
    assert adoption.adopt(SECOND).task_id == "another"


def test_a_job_that_the_sdk_runs_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an agent and without `Task.init`, no other process sends the console."""
    initialized = [False]
    monkeypatch.setattr(task_adoption, "is_initialized", lambda: initialized[0])
    monkeypatch.setenv("CLEARML_TASK_ID", "task")
    assert not TaskAdoption().adopt(FIRST).is_local_job
    monkeypatch.setenv("CLEARML_SIMULATE_REMOTE_TASK", "1")
    assert TaskAdoption().adopt(FIRST).is_local_job
    initialized[0] = True
    assert not TaskAdoption().adopt(FIRST).is_local_job
