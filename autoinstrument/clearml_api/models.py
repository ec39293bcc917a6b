"""Write the models of a Task: every request about a model that is ever sent.

Each `models.create` makes a new model (API 2.34), so that a model must be looked for before. Models can be changed
whatever the status of their Task; a finished Task takes no single model, but it takes all of them in one `edit`.
"""

from __future__ import annotations

from typing import Any

from autoinstrument.clearml_api import schema
from autoinstrument.clearml_api.errors import RefusedError, understood
from autoinstrument.clearml_api.session import Session

_WRONG_STATUS = (400, 110)
_FIELDS = ["id", "name", "uri", "framework", "tags", "system_tags", "metadata"]


@understood
class Models:
    """The models of one server's Tasks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_task(self, task_id: str) -> list[dict[str, Any]]:
        """Return the models that were made for a Task, linked to it or not: `id`, and all else that is written here.

        Raises:
            ClearMLError: they cannot be read.
        """
        answer = self._session.call("models.get_all", task=[task_id], only_fields=_FIELDS, order_by=["created"])
        return [schema.model(model) for model in answer.get("models") or []]

    def create(self, task_id: str, project_id: str, fields: dict[str, Any]) -> str:
        """Make a model and return its id.

        It is tried once: where the answer is lost, the model may be there.

        Raises:
            ClearMLError: there may be no model.
        """
        body = {**fields, "task": task_id, "ready": False}
        if project_id:
            body["project"] = project_id
        return str(self._session.call_once("models.create", **body)["id"])

    def edit(self, model_id: str, fields: dict[str, Any]) -> None:
        """Replace fields of a model; nothing is sent where there are none.

        Raises:
            ClearMLError: the server did not take them.
        """
        if fields:
            self._session.call("models.edit", model=model_id, **fields)

    def set_metadata(self, model_id: str, items: list[dict[str, str]]) -> None:
        """Replace all metadata of a model; nothing is sent where there are no items.

        Raises:
            ClearMLError: the server did not take them.
        """
        if items:
            self._session.call("models.add_or_update_metadata", model=model_id, metadata=items, replace_metadata=True)

    def link(self, task: dict[str, Any], name: str, model_id: str) -> None:
        """Put a model on a Task (as `tasks.get_by_id` gives it) under a name that is free there.

        Raises:
            ClearMLError: the server did not take it.
        """
        linked = task["models"]["output"]
        try:
            self._session.call("tasks.add_or_update_model", task=task["id"], name=name, model=model_id, type="output")
        except RefusedError as error:
            if error.code != _WRONG_STATUS:
                raise
            models = {
                kind: [{"name": entry["name"], "model": entry["model"]} for entry in entries]
                for kind, entries in task["models"].items()
            }
            models["output"].append({"name": name, "model": model_id})
            self._session.call("tasks.edit", task=task["id"], force=True, models=models)
        linked.append({"name": name, "model": model_id})

    def task(self, task_id: str) -> dict[str, Any]:
        """Return a Task as far as its models are concerned: id, project, models.

        Raises:
            ClearMLError: it cannot be read.
        """
        found = schema.task(self._session.call("tasks.get_by_id", task=task_id)["task"])
        models = found.get("models") or {}
        return {
            "id": task_id,
            "project": str(found.get("project") or ""),
            "models": {kind: list(models.get(kind) or []) for kind in ("input", "output")},
        }
