"""Models are created once, found by their Task, and changed."""

from __future__ import annotations

import pytest

from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.clearml_api.tasks import Task, Tasks
from tests.clearml_server import ClearMLServer, Fault

pytestmark = pytest.mark.parametrize("task", ["running"], indirect=True)
FIELDS = {"name": "model", "uri": "https://host/m", "framework": "PyTorch", "tags": ["a"]}


def test_a_model_is_found_by_its_task(tasks: Tasks, task: Task) -> None:
    holder = tasks.models.task(task.id)
    assert holder["models"] == {"input": [], "output": []}
    made = tasks.models.create(task.id, holder["project"], FIELDS)
    tasks.models.edit(made, {"name": "other"})
    tasks.models.edit(made, {})
    tasks.models.set_metadata(made, [{"key": "k", "type": "str", "value": "v"}])
    tasks.models.set_metadata(made, [])
    (found,) = tasks.models.of_task(task.id)
    assert (found["id"], found["name"], found["tags"]) == (made, "other", ["a"])
    assert found["metadata"]["k"]["value"] == "v"


def test_a_model_is_created_in_one_attempt(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    """Its response may be lost after the model was made, and a second one would be there."""
    server.faults.add(Fault("models.create", status=503, when="after"))
    with pytest.raises(UnavailableError):
        tasks.models.create(task.id, "", FIELDS)
    assert len(server.models) == 1
