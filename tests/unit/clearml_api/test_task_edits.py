"""A Task takes every change while it is running, and the same change after its end."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.finished_tasks import replace
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from tests.clearml_server import ClearMLServer, Fault

from .conftest import artifact, hyperparameter


def values(server: ClearMLServer, task: Task) -> dict[str, dict[str, str]]:
    sections = server.task(task.id)["hyperparams"]
    return {section: {name: item["value"] for name, item in items.items()} for section, items in sections.items()}


def test_hyperparameters_are_added_and_changed(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    tasks.set_hyperparameters(task, [hyperparameter("MLflow", "lr", "0.2"), hyperparameter("Args", "epochs", "3")])
    assert values(server, task) == {
        "MLflow": {"lr": "0.2"},
        "Args": {"epochs": "3"},
        "properties": {"mlflow_run_id": "run"},
    }


def test_hyperparameters_are_deleted(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    tasks.set_hyperparameters(task, [hyperparameter("MLflow", "gone", "1")])
    tasks.delete_hyperparameters(task, "MLflow", ["gone", "never there"])
    assert values(server, task)["MLflow"] == {"lr": "0.1"}


def test_sections_and_properties_are_deleted(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    tasks.set_hyperparameters(task, [hyperparameter("properties", "other", "kept")])
    tasks.delete_sections(task, ["MLflow", "never there"], ["mlflow_run_id", "never there"])
    assert values(server, task) == {"properties": {"other": "kept"}}


def test_configuration_objects_are_added_and_replaced(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    tasks.set_configuration(task, [{"name": "new", "value": "1"}])
    tasks.set_configuration(task, [{"name": "new", "value": "2"}])
    found = server.task(task.id)["configuration"]
    assert {name: item["value"] for name, item in found.items()} == {"object": "text", "new": "2"}


def test_artifacts_are_added_and_replaced(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    tasks.add_artifacts(task, [artifact("first", "https://host/other"), artifact("second")])
    found = server.task(task.id)["execution"]["artifacts"]
    assert {one["key"]: one["uri"] for one in found} == {
        "first": "https://host/other",
        "second": "https://host/file",
    }


def test_a_model_is_linked_beside_the_others(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    for name in ("first", "second"):
        holder = tasks.models.task(task.id)
        made = tasks.models.create(task.id, holder["project"], {"name": name, "uri": "https://host/model"})
        tasks.models.link(holder, name, made)
        assert [one["name"] for one in holder["models"]["output"]][-1] == name
    assert [one["name"] for one in server.task(task.id)["models"]["output"]] == ["first", "second"]


def test_fields_and_tags(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    tasks.edit(task, comment="a note")
    for _ in range(2):
        tasks.add_tags(task, ["mlflow"])
    found = server.task(task.id)
    assert (found["comment"], found["tags"]) == ("a note", ["mlflow"])


def test_no_request_without_changes(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    server.clear_requests()
    tasks.set_hyperparameters(task, [])
    tasks.set_configuration(task, [])
    tasks.add_artifacts(task, [])
    assert server.requests == []


def test_a_change_that_is_there_already_is_not_written_again(
    server: ClearMLServer, session: Session, task: Task
) -> None:
    server.clear_requests()
    replace(session, task.id, "configuration", lambda held: dict(held))
    assert server.calls("tasks.edit") == []


@pytest.mark.parametrize("task", ["running"], indirect=True)
def test_another_refusal_is_not_merged(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    wrong: list[Any] = [{"section": "MLflow"}]  # without a name
    with pytest.raises(RefusedError) as raised:
        tasks.set_hyperparameters(task, wrong)
    assert not raised.value.is_finished
    assert server.calls("tasks.edit") == []


def test_data_that_was_written_meanwhile_is_kept(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    """A finished Task is read at the moment of the change, not before."""
    holder = tasks.models.task(task.id)
    other = tasks.models.create(task.id, "", {"name": "other", "uri": "https://host/model"})
    tasks.models.link(tasks.models.task(task.id), "other", other)  # by another process
    mine = tasks.models.create(task.id, "", {"name": "mine", "uri": "https://host/model"})
    tasks.models.link(holder, "mine", mine)
    assert {one["name"] for one in server.task(task.id)["models"]["output"]} == {"other", "mine"}


def test_a_change_of_a_finished_task_that_fails_is_an_error(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    server.faults.add(Fault("tasks.edit*", status=413))
    with pytest.raises(RefusedError):
        tasks.set_hyperparameters(task, [hyperparameter("MLflow", "lr", "0.2")])
