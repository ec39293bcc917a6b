"""Write a run's models to ClearML: what they are, their files if these are wanted, and their points."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autoinstrument.clearml_api.attempts import made
from autoinstrument.clearml_api.errors import FilesUnavailableError, RefusedError
from autoinstrument.clearml_api.shared_models import CREATING, URI
from autoinstrument.clearml_api.tasks import Task, points_of
from autoinstrument.guard import logger
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.mirror.kinds.model_archive import ARCHIVE, packed
from autoinstrument.mirror.mapping import model_fields, model_metrics, model_versions
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.model_fields import Copy, ModelFields
from autoinstrument.mirror.mapping.scalars import Curve
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.records import Model, ModelPoint, ModelsLogged


class ModelWriter:
    """Writes the models of one run.

    Attributes:
        ids: ids of the models in ClearML, by the URIs that MLflow knows them by.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._models = context.tasks.models
        self._uploads = context.uploads if context.settings.artifacts == "upload" else None
        self._waiting: tuple[str, ModelsLogged] | None = None
        """Task and models of which only copies are missing."""
        self._registered: str | None = None
        """The property that the Task has, None while it is not known."""
        self.ids: dict[str, str] = {}

    def take_held(self, task: Mapping[str, Any]) -> None:
        """Note which versions the Task names, given as a search finds it."""
        held = ((task.get("hyperparams") or {}).get(PROPERTIES) or {}).get(model_versions.REGISTERED) or {}
        self._registered = str(held.get("value", ""))

    def start_over(self) -> None:
        """Note that the Task is new and has no models, or that the next one will be."""
        self.ids, self._registered = {}, ""

    def write(self, task: Task, logged: ModelsLogged, *, exact: bool = False) -> None:
        """Make the models that the Task lacks, change those that differ from MLflow's, and link them.

        Args:
            task: the run's.
            logged: all models that the run has now.
            exact: send points also if the server seems to have them.

        Raises:
            FilesUnavailableError: everything was sent except copies.
            ClearMLError: the server did not take everything; calling again goes on from there.
        """
        if self._uploads is not None and self._waiting == (task.id, logged):
            self._uploads.check()
        holder = self._models.task(task.id)
        held = self._models.of_task(task.id)
        problem: FilesUnavailableError | None = None
        for model in logged.models:
            wanted, found = wanted_and_found(model, logged.run_id, held)
            if found is None:
                with CREATING:  # a run that reads it may have made it
                    shared = self._context.tasks.shared_models
                    found = shared.taken_over(holder, wanted.metadata[URI], logged.run_id) or self._made(holder, wanted)
                held.append(found)
            self.ids[model["uri"]] = found["id"]
            self._send_missing(model, found, exact=exact)
            if not model_fields.is_left_alone(found, model):
                try:
                    wanted = model_fields.wanted(model, logged.run_id, self._copy(task, model, found))
                except FilesUnavailableError as error:
                    problem = error
                self._bring_up(found, wanted)
            linked = holder["models"]["output"]
            if found["id"] not in [entry.get("model") for entry in linked]:
                name = model_fields.free_name(wanted.name, [entry.get("name") for entry in linked])
                self._models.link(holder, name, found["id"])
            # Last, because ClearML's triggers look at a model that is published.
            if not found.get("ready") and model_versions.is_published(model, self._context.settings.publish):
                self._models.publish(found["id"])
        for found in held:
            if model_fields.is_gone(found, logged):
                self._bring_up(found, model_fields.deleted(found))
        self._name_versions(task, logged)
        self._waiting = (task.id, logged) if problem else None
        if problem is not None:
            raise problem

    def send_points(self, model_id: str, points: Iterable[ModelPoint]) -> None:
        """Send points of a model; the server may have some of them.

        Raises:
            ClearMLError: the server did not take everything.
        """
        self._send(model_id, model_metrics.curves(points, self._context.settings.scalars))

    def _send_missing(self, model: Model, held: Mapping[str, Any], *, exact: bool) -> None:
        """Send the curves of which the server counts fewer points than MLflow has; with `exact`, all."""
        curves = model_metrics.curves(model["points"], self._context.settings.scalars)
        counted = points_of(held)
        self._send(held["id"], {of: drawn for of, drawn in curves.items() if exact or counted.get(of, 0) < len(drawn)})

    def _send(self, model_id: str, curves: Mapping[Curve, model_metrics.Drawn]) -> None:
        if not curves or not self._models.have_events():
            return
        events = list(model_metrics.events(model_id, curves))
        for start in range(0, len(events), MAX_EVENTS):
            batch = events[start : start + MAX_EVENTS]
            self._context.rejections.send_events(self._models.add_events, batch)

    def _bring_up(self, held: Mapping[str, Any], wanted: ModelFields) -> None:
        # In this order: the metadata tells which tags were given, and a tag that was not removed must be found again.
        self._models.edit(held["id"], model_fields.edits(held, wanted))
        self._models.set_metadata(held["id"], model_fields.new_metadata(held, wanted))

    def _name_versions(self, task: Task, logged: ModelsLogged) -> None:
        """Set the property that names the versions; it comes last, as the sign that the models are complete."""
        if not logged.has_registry:
            return
        registered = registered_of(logged)
        if registered == self._registered:
            return
        if registered:
            item = hyperparameter(PROPERTIES, model_versions.REGISTERED, registered, "str")
            self._context.tasks.set_hyperparameters(task, [item])
        else:
            self._context.tasks.delete_hyperparameters(task, PROPERTIES, [model_versions.REGISTERED])
        self._registered = registered

    def _made(self, holder: dict[str, Any], wanted: ModelFields) -> dict[str, Any]:
        fields = {"name": wanted.name, "uri": wanted.uri, "framework": wanted.framework, "tags": wanted.tags}

        def find() -> str:
            held = self._models.of_task(holder["id"])
            return next((str(one["id"]) for one in held if model_fields.is_same(one, wanted)), "")

        model_id = made(lambda: self._models.create(holder["id"], holder["project"], fields), find)
        found: dict[str, Any] = {**fields, "id": model_id}
        items = model_fields.new_metadata(found, wanted)
        self._models.set_metadata(found["id"], items)
        return {**found, "metadata": {item["key"]: item for item in items}}

    def _copy(self, task: Task, model: Model, held: dict[str, Any]) -> Copy:
        """Copy a model's files if that is wanted; a copy that the server has stays.

        Raises:
            FilesUnavailableError: the place for files does not answer.
        """
        known = model_fields.copy_of(held, model)
        if known.address:
            return known
        if self._uploads is None or not model["revision"]:
            return model_fields.NO_COPY
        self._uploads.check()
        with contextlib.ExitStack() as stack:
            try:
                archive = stack.enter_context(packed(ArtifactStore(self._context.run, model)))
            except Exception as error:  # the store raises what its driver raises
                logger().warning("model %s is not copied (%s: %s)", model["name"], type(error).__name__, error)
                return Copy(problem=f"the files cannot be read from MLflow's store: {error}"[:500])
            try:
                path = f"{model['revision']}/{ARCHIVE}"
                return Copy(self._uploads.upload(task, "models", path, archive, artifact=True))
            except RefusedError as error:
                return Copy(problem=str(error))


def wanted_and_found(
    model: Model, run_id: str, held: Sequence[dict[str, Any]]
) -> tuple[ModelFields, dict[str, Any] | None]:
    """Return how a model of MLflow must look in ClearML, and the server's model that is the same, None for none.

    It is found by its metadata, or by its address if the metadata did not get through: nothing is kept elsewhere, so
    that a second worker and `sync` find it too.
    """
    wanted = model_fields.wanted(model, run_id)
    found = next((one for one in held if model_fields.is_same(one, wanted)), None)
    if found is not None:
        wanted = model_fields.wanted(model, run_id, model_fields.copy_of(found, model))
    return wanted, found


def registered_of(logged: ModelsLogged) -> str:
    """Return the versions of all models in one line, see `model_versions.registered`."""
    return model_versions.registered(version for model in logged.models for version in model["versions"] or ())
