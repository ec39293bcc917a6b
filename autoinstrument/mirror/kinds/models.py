"""A run's models: ClearML models that the Task links as its output, with copies of their files if these are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from autoinstrument.clearml_api.errors import FilesUnavailableError, RefusedError
from autoinstrument.clearml_api.shared_models import CREATING, URI
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.guard import logger
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.model_archive import ARCHIVE, packed
from autoinstrument.mirror.kinds.snapshot import SnapshotPart
from autoinstrument.mirror.mapping import model_fields
from autoinstrument.mirror.mapping.model_fields import Copy, ModelFields
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Model, ModelsLogged


class Models(Kind):
    """Each record lists all models of the run with their versions."""

    name = "model"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return SnapshotPart(ModelsLogged, ModelWriter(context).write, context.rejections)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("models")]

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return nothing: a search does not give a run's models."""
        return ()

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare each model and its versions; the copy if one is wanted."""
        linked = [entry.get("model") for entry in (of.task.get("models") or {}).get("output") or []]
        for logged in data:
            if isinstance(logged, ModelsLogged) and logged.models:
                held = tasks.models.of_task(str(of.task["id"]))
                for model in logged.models:
                    wanted, found = _wanted_and_found(model, logged.run_id, held)
                    problem = _problem(model, wanted, found, linked, is_copied=of.settings.artifacts == "upload")
                    yield from (Difference(self.name, f"{wanted.name}: {each}") for each in problem)

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each model by its name, because ids are new each time."""
        for logged in data:
            for model in logged.models if isinstance(logged, ModelsLogged) else ():
                versions = [f"{each['name']} {each['aliases']} {each['tags']}" for each in model["versions"] or ()]
                yield f"model {model['name']}", f"flavors {model['flavors']}, tags {model['tags']}, versions {versions}"


def _wanted_and_found(
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


def _problem(
    model: Model, wanted: ModelFields, found: dict[str, Any] | None, linked: Sequence[Any], *, is_copied: bool
) -> Iterator[str]:
    """Yield how a Task's model differs from the wanted one."""
    if found is None or found["id"] not in linked:
        yield "missing"
        return
    if model_fields.is_left_alone(found, model):
        return
    if is_copied and model["revision"] and model_fields.copy_of(found, model) == model_fields.NO_COPY:
        yield "not copied"
    if model_fields.edits(found, wanted) or model_fields.new_metadata(found, wanted):
        yield "other name, address, tags, versions or aliases"


class ModelWriter:
    """Writes the models of one run."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._models = context.tasks.models
        self._uploads = context.uploads if context.settings.artifacts == "upload" else None
        self._waiting: tuple[str, ModelsLogged] | None = None
        """Task and models of which only copies are missing."""

    def write(self, task: Task, logged: ModelsLogged) -> None:
        """Make the models that the Task lacks, change those that differ from MLflow's, and link them.

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
            wanted, found = _wanted_and_found(model, logged.run_id, held)
            if found is None:
                with CREATING:  # a run that reads it may have made it
                    shared = self._context.tasks.shared_models
                    found = shared.taken_over(holder, wanted.metadata[URI], logged.run_id) or self._made(holder, wanted)
                held.append(found)
            try:
                wanted = model_fields.wanted(model, logged.run_id, self._copy(task, model, found))
            except FilesUnavailableError as error:
                problem = error
            self._models.edit(found["id"], model_fields.edits(found, wanted))
            self._models.set_metadata(found["id"], model_fields.new_metadata(found, wanted))
            linked = holder["models"]["output"]
            if found["id"] not in [entry.get("model") for entry in linked]:
                name = model_fields.free_name(wanted.name, [entry.get("name") for entry in linked])
                self._models.link(holder, name, found["id"])
        self._waiting = (task.id, logged) if problem else None
        if problem is not None:
            raise problem

    def _made(self, holder: dict[str, Any], wanted: ModelFields) -> dict[str, Any]:
        fields = {"name": wanted.name, "uri": wanted.uri, "framework": wanted.framework, "tags": wanted.tags}
        found: dict[str, Any] = {**fields, "id": self._models.create(holder["id"], holder["project"], fields)}
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
