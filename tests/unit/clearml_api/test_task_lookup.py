"""Tasks are found by their run, and read as the server has them."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api import task_lookup
from autoinstrument.clearml_api.errors import ClearMLError, UnavailableError
from autoinstrument.clearml_api.task_lookup import TaskLookup, TaskStatus
from autoinstrument.clearml_api.tasks import Task, Tasks
from tests.clearml_server import ClearMLServer, Fault

from .conftest import hyperparameter

pytestmark = pytest.mark.parametrize("task", ["running"], indirect=True)


def of_run(tasks: Tasks, run_id: str, **fields: Any) -> Task:
    body: dict[str, Any] = {"name": "another", "type": "training", "tags": ["mlflow"], "system_tags": ["development"]}
    body["hyperparams"] = {"properties": {"mlflow_run_id": hyperparameter("properties", "mlflow_run_id", run_id)}}
    return tasks.create("project", {**body, **fields})


def test_a_task_is_read_or_is_gone(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    assert tasks.get(task.id)["name"] == "one"
    found = tasks.find(task.id, adopted=False, run_id="run")
    assert found is not None
    assert (found.status, found.url, list(found.artifacts)) == ("in_progress", task.url, ["first"])
    assert tasks.find(task.id, adopted=False, run_id="another") is None
    tasks.delete(task)
    assert tasks.get(task.id) == {}
    assert tasks.find(task.id, adopted=False) is None


def test_a_task_of_another_shape_is_the_servers_error(
    tasks: Tasks, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks._session, "call", lambda *_, **__: {"task": {"id": 1}})
    with pytest.raises(UnavailableError, match=r"the server's response is not understood .*Task.id has an unexpected"):
        tasks.get(task.id)


def test_the_tasks_of_runs(tasks: Tasks, task: Task) -> None:
    first, second, other = of_run(tasks, "1"), of_run(tasks, "1"), of_run(tasks, "2")
    of_run(tasks, "3", system_tags=[])  # a clone
    found = tasks.of_runs(["1", "2", "3"], ["name"])
    assert {run_id: [one["id"] for one in ones] for run_id, ones in found.items()} == {
        "1": [first.id, second.id],
        "2": [other.id],
    }
    assert found["2"][0]["name"] == "another"
    assert tasks.of_run("1") == first.id
    assert tasks.of_run("1", linked=second.id) == second.id
    assert tasks.of_run("9") == ""
    assert tasks.of_run("9", linked=first.id) == "", "it is another run's"


def test_a_linked_task_that_has_lost_its_properties(tasks: Tasks, task: Task) -> None:
    bare = tasks.create("project", {"name": "bare", "type": "training", "system_tags": ["development"]})
    assert tasks.of_run("9", linked=bare.id) == bare.id


def test_one_configuration_object_of_several_tasks(tasks: Tasks, task: Task) -> None:
    described: list[dict[str, Any]] = [{"id": task.id}, {"id": of_run(tasks, "1").id}]
    tasks.add_configuration(described, "object")
    assert described[0]["configuration"]["object"]["value"] == "text"
    assert not described[1].get("configuration")


def test_the_statuses_of_tasks(tasks: Tasks, task: Task) -> None:
    """One that was deleted has none."""
    other = of_run(tasks, "1")
    tasks.finish(task, "stopped", "why", "how")
    tasks.start(other, "again")
    assert sorted(tasks.statuses([task.id, other.id, "0" * 32])) == sorted(
        [TaskStatus(task.id, "stopped", "why", "how"), TaskStatus(other.id, "in_progress", "again", "")]
    )


def test_as_many_tasks_are_asked_for_as_one_answer_holds(
    server: ClearMLServer, tasks: Tasks, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server leaves out what does not fit on a page: the 501st Task would not be watched for aborts."""
    monkeypatch.setattr(task_lookup, "_AT_ONCE", 2)
    ids = [task.id, of_run(tasks, "1").id, of_run(tasks, "2").id]
    server.clear_requests()
    assert sorted(status.task_id for status in tasks.statuses(ids)) == sorted(ids)
    assert sorted(sign["id"] for sign in tasks.signs_of_life(ids)) == sorted(ids)
    assert tasks.data_sets(ids) == {}
    bodies = [request.body for request in server.calls("tasks.get_all")]
    assert [(len(body["id"]), body["page_size"]) for body in bodies] == [(2, 2), (1, 2)] * 3


def test_a_lookup_alone_needs_nothing_else(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    lookup = TaskLookup(tasks._session)
    server.faults.add(Fault("tasks.get_by_id", status=503))
    with pytest.raises(ClearMLError):
        lookup.get(task.id)
