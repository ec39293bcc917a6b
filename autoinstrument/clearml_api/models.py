"""Read and write the models of a Task.

Each `models.create` makes a new model (API 2.34), so that a caller must look for an existing one first. Models can be
changed whatever the status of their Task is, and also when they are published.
"""

from __future__ import annotations

from typing import Any

from autoinstrument.clearml_api import schema
from autoinstrument.clearml_api.errors import RefusedError, understood
from autoinstrument.clearml_api.finished_tasks import change
from autoinstrument.clearml_api.paging import pages
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task_lookup import read

_FIELDS = ["id", "name", "uri", "framework", "tags", "system_tags", "metadata", "ready", "last_metrics"]
_IS_READY = (400, 203)
Models = dict[str, list[dict[str, Any]]]
"""Models of a Task, by "input" and "output"."""
ARCHIVED = "archived"
"""System tag of a model that its project's page does not show (clearml 1.16 to 2.1.12, `Model.archive`)."""


@understood
class TaskModels:
    """The models of one server's Tasks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_task(self, task_id: str) -> list[dict[str, Any]]:
        """Return the models that were created for a Task, whether or not they are linked to it.

        Raises:
            ClearMLError: they cannot be read.
        """
        found = pages(self._session, "models", task=[task_id], only_fields=_FIELDS)
        return [schema.model(model) for model in found]

    def create(self, task_id: str, project_id: str, fields: dict[str, Any]) -> str:
        """Create a model and return its id.

        There is only one attempt: if its response is lost, the model may exist.

        Raises:
            ClearMLError: the model may not exist.
        """
        body = {**fields, "task": task_id, "ready": False}
        if project_id:
            body["project"] = project_id
        return str(self._session.call_once("models.create", **body)["id"])

    def edit(self, model_id: str, fields: dict[str, Any]) -> None:
        """Replace fields of a model; nothing is sent if there are none.

        Raises:
            ClearMLError: the server did not take them.
        """
        if fields:
            self._session.call("models.edit", model=model_id, **fields)

    def set_metadata(self, model_id: str, items: list[dict[str, str]]) -> None:
        """Replace all metadata of a model; nothing is sent if there are no items.

        Raises:
            ClearMLError: the server did not take them.
        """
        if items:
            self._session.call("models.add_or_update_metadata", model=model_id, metadata=items, replace_metadata=True)

    def publish(self, model_id: str) -> None:
        """Publish a model, and not its Task, which would take no more data then; a published one stays as it is.

        Raises:
            ClearMLError: the server did not do so.
        """
        try:
            self._session.call("models.set_ready", model=model_id, publish_task=False)
        except RefusedError as error:
            if error.code != _IS_READY:
                raise

    def have_events(self) -> bool:
        """Return False if the server is too old for points of models.

        Raises:
            ClearMLError: the login fails.
        """
        return self._session.login.models_have_events()

    def add_events(self, events: list[dict[str, Any]]) -> None:
        """Send points of models, which name their model as `task`; those of models that are gone are dropped.

        Raises:
            ClearMLError: the server did not take them.
        """
        # A published model takes points only with `allow_locked` (clearml-server 1.x and 2.x).
        batch = [{**event, "model_event": True, "allow_locked": True} for event in events]
        try:
            self._session.add_events(batch)
        except RefusedError as error:
            if not error.is_model_gone:
                raise

    def link(self, task: dict[str, Any], name: str, model_id: str, kind: str = "output") -> None:
        """Put a model on a Task under a name that is free there.

        Args:
            task: the Task, as the method `task` returns it; the model is added to it.
            name: name of the model on the Task.
            model_id: id of the model.
            kind: "input" or "output".

        Raises:
            ClearMLError: the server did not take it.
        """
        entry = {"name": name, "model": model_id}

        def merge(models: Models) -> Models:
            held = plain(models)
            return {**held, kind: [*held.get(kind, []), entry]}

        change(self._session, "tasks.add_or_update_model", "models", merge, task=task["id"], type=kind, **entry)
        task["models"][kind].append(entry)

    def task(self, task_id: str) -> dict[str, Any]:
        """Return `id`, `project` and `models` of a Task.

        Raises:
            ClearMLError: it cannot be read.
        """
        found = read(self._session, task_id)
        models = found.get("models") or {}
        return {
            "id": task_id,
            "project": str(found.get("project") or ""),
            "models": {kind: list(models.get(kind) or []) for kind in ("input", "output")},
        }


def plain(models: Models) -> Models:
    """Return the models of a Task with the fields that the server takes."""
    return {kind: [{"name": one["name"], "model": one["model"]} for one in models[kind]] for kind in models}
