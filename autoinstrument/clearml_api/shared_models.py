"""Models that more than one Task has: one run makes a model, others read it.

A model is found by its metadata `mlflow_model_uri`, whichever Task it belongs to. Whoever comes first makes it, and the
run that has made the model in MLflow takes it over.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autoinstrument.clearml_api import schema
from autoinstrument.clearml_api.attempts import made
from autoinstrument.clearml_api.errors import RefusedError, understood
from autoinstrument.clearml_api.finished_tasks import change
from autoinstrument.clearml_api.models import Models, TaskModels, plain
from autoinstrument.clearml_api.session import Session

URI = "mlflow_model_uri"
"""Metadata of a model: its URI in MLflow, which is the same in all processes."""
RUN = "mlflow_run_id"
"""Metadata of a model: the run that has made it."""
CREATING = threading.RLock()
"""Held while a model is looked for and made: runs of one process would make two of one that both need."""
_FIELDS = ["id", "name", "uri", "framework", "tags", "system_tags", "metadata", "task", "ready", "last_metrics"]
_AT_ONCE = 100


def uri_of(model: Mapping[str, Any]) -> str:
    """Return the URI in MLflow of a server's model, "" if it has none."""
    return _item(model, URI)


def _item(model: Mapping[str, Any], name: str) -> str:
    return str(((model.get("metadata") or {}).get(name) or {}).get("value") or "")


@understood
class SharedModels:
    """The models of one server. Every method raises `ClearMLError` if the server does not answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._models = TaskModels(session)

    def of_ids(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the models of some ids; those that do not exist are left out."""
        return self._found("id", ids)

    def of_uris(self, uris: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return models by their URIs in MLflow; of several, one that a run has made, else the oldest."""
        found: dict[str, dict[str, Any]] = {}
        # `metadata.*` can be queried for, as the SDK does (`Model.query_models`, clearml 1.16 to 2.1.12).
        for model in self._found(f"metadata.{URI}.value", uris):
            uri = uri_of(model)
            if uri in uris and (uri not in found or (model.get("task") and not found[uri].get("task"))):
                found[uri] = model
        return found

    def _found(self, field: str, values: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(values), _AT_ONCE):
            some = list(values[start : start + _AT_ONCE])
            answer = self._session.call(
                "models.get_all", **{field: some}, only_fields=_FIELDS, order_by=["created"], page=0, page_size=500
            )
            found += [schema.model(model) for model in answer.get("models") or []]
        return found

    def made(self, project: str, fields: dict[str, Any], metadata: list[dict[str, str]], uri: str) -> dict[str, Any]:
        """Return the model of a URI, which is made if there is none; it belongs to no Task.

        If another process makes one at the same moment, the younger one is deleted.
        """
        with CREATING:
            if found := self.of_uris([uri]).get(uri):
                return found
            body = {**fields, "ready": False, **({"project": project} if project else {})}

            def make() -> str:
                return str(self._session.call_once("models.create", **body)["id"])

            model_id = made(make, lambda: self._without_metadata(fields))
            self._models.set_metadata(model_id, metadata)
            first = self.of_uris([uri]).get(uri)
            if first is None or first["id"] == model_id:
                return {**fields, "id": model_id}
            self._session.call("models.delete", model=model_id)
            return first

    def _without_metadata(self, fields: Mapping[str, Any]) -> str:
        """Return the id of a model that belongs to no Task, and was made with these fields, but got no metadata yet."""
        found = [one for one in self._found("uri", [fields["uri"]]) if one["name"] == fields["name"]]
        return next((str(one["id"]) for one in found if not (one.get("task") or one.get("metadata"))), "")

    def taken_over(self, task: Mapping[str, Any], uri: str, run_id: str) -> dict[str, Any] | None:
        """Give the model of a URI to the Task whose run has made it in MLflow; return None if there is none to give.

        That is a model without a Task, or one of a Task that the same run had before.

        Args:
            task: `id` and `project` of the Task.
            uri: the model's URI in MLflow.
            run_id: the run.
        """
        found = self.of_uris([uri]).get(uri)
        if found is None or (found.get("task") and _item(found, RUN) != run_id):
            return None
        place = {"task": task["id"], **({"project": task["project"]} if task["project"] else {})}
        self._models.edit(found["id"], place)
        return found

    def unlink_inputs(self, task_id: str, names: Collection[str]) -> None:
        """Remove models from a Task's inputs by their names there."""

        def merge(models: Models) -> Models:
            held = plain(models)
            return {**held, "input": [entry for entry in held.get("input", []) if entry["name"] not in names]}

        items = [{"name": name, "type": "input"} for name in names]
        try:
            change(self._session, "tasks.delete_models", "models", merge, task=task_id, models=items)
        except RefusedError as error:
            if not error.is_gone:
                raise
