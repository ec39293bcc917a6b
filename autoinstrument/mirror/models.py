"""Bring the models of a Task up to those of the run."""

from __future__ import annotations

from typing import Any

from autoinstrument.mirror import model_mapping
from autoinstrument.records import ModelsLogged
from autoinstrument.to_clearml.models import Models
from autoinstrument.to_clearml.tasks import Task


def write_models(models: Models, task: Task, logged: ModelsLogged) -> None:
    """Make the models that the Task lacks, change those that are other than in MLflow, and link them.

    A model is found again by its metadata, or by its address where it was made and the metadata did not get through:
    nothing is kept elsewhere, so that a second worker and `sync` find it too.

    Raises:
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    holder = models.task(task.id)
    held = models.of_task(task.id)
    for model in logged.models:
        wanted = model_mapping.wanted(model, logged.run_id)
        found = next((one for one in held if model_mapping.is_same(one, wanted)), None)
        if found is None:
            found = _made(models, holder, wanted)
            held.append(found)
        if not model_mapping.is_left_alone(found, model):
            models.edit(found["id"], model_mapping.edits(found, wanted))
            models.set_metadata(found["id"], model_mapping.new_metadata(found, wanted))
        linked = holder["models"]["output"]
        if found["id"] not in [entry.get("model") for entry in linked]:
            name = model_mapping.free_name(wanted.name, [entry.get("name") for entry in linked])
            models.link(holder, name, found["id"])


def _made(models: Models, holder: dict[str, Any], wanted: model_mapping.Wanted) -> dict[str, Any]:
    fields = {"name": wanted.name, "uri": wanted.uri, "framework": wanted.framework, "tags": wanted.tags}
    return {**fields, "id": models.create(holder["id"], holder["project"], fields), "metadata": {}}
