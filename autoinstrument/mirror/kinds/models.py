"""A run's models: ClearML models that the Task links as its output, with their metadata, tags and scalars."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.model_writer import registered_of, wanted_and_found
from autoinstrument.mirror.kinds.models_part import ModelsPart
from autoinstrument.mirror.mapping import model_fields, model_metrics, model_versions
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES
from autoinstrument.mirror.mapping.model_fields import ModelFields
from autoinstrument.mirror.mapping.scalars import same_number
from autoinstrument.mlflow_store.models import HISTORY
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Model, ModelsLogged


class Models(Kind):
    """Each record lists all models of the run with their versions; live, points of models have their own records."""

    name = "model"
    task_fields = ("hyperparams", "models")

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return ModelsPart(context)

    def may_be_there(self, run: StoredRun) -> bool:
        """See `Kind.may_be_there`: MLflow 3 names models in the run's outputs, MLflow 2 in a tag."""
        return bool(run.named) or HISTORY in run.run.tags

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("models")]

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare only versions, aliases and stages, which other processes change long after the run's end."""
        versions = of.versions()
        if versions is not None:
            yield from self._registered(of, model_versions.registered(versions))

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare each model, its versions and its points; the copy if one is wanted."""
        linked = [entry.get("model") for entry in (of.task.get("models") or {}).get("output") or []]
        for logged in data:
            if isinstance(logged, ModelsLogged) and (logged.models or linked):
                held = tasks.models.of_task(str(of.task["id"]))
                for model in logged.models:
                    wanted, found = wanted_and_found(model, logged.run_id, held)
                    problems = [*_problems(model, wanted, found, linked, of)]
                    if found is not None and model["points"] and tasks.models.have_events():
                        problems += _points_that_differ(model, found, of, tasks)
                    yield from (Difference(self.name, f"{wanted.name}: {each}") for each in problems)
                for gone in (each for each in held if model_fields.is_gone(each, logged)):
                    wanted = model_fields.deleted(gone)
                    if model_fields.edits(gone, wanted) or model_fields.new_metadata(gone, wanted):
                        yield Difference(self.name, f"{wanted.name}: no longer in MLflow")
                if logged.has_registry:
                    yield from self._registered(of, registered_of(logged))

    def _registered(self, of: TaskOfRun, wanted: str) -> Iterator[Difference]:
        held = of.section(PROPERTIES).get(model_versions.REGISTERED, "")
        if held != wanted:
            yield Difference(self.name, f"registered as {wanted or 'nothing'}, the Task says {held or 'nothing'}")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each model by its name, because ids are new each time."""
        for logged in data:
            for model in logged.models if isinstance(logged, ModelsLogged) else ():
                versions = [f"{each['name']} {each['aliases']} {each['tags']}" for each in model["versions"] or ()]
                points = sorted((key, repr(value), step) for key, value, _, step, *_ in model["points"])
                digest = hashlib.sha256(repr(points).encode()).hexdigest()[:16]
                yield (
                    f"model {model['name']}",
                    f"{model['status']}, flavors {model['flavors']}, tags {model['tags']}, versions {versions}, "
                    f"params {model['params']}, {len(points)} points ({digest})",
                )


def _problems(
    model: Model, wanted: ModelFields, found: Mapping[str, Any] | None, linked: Sequence[Any], of: TaskOfRun
) -> Iterator[str]:
    """Yield how a Task's model differs from the wanted one."""
    if found is None or found["id"] not in linked:
        yield "missing"
        return
    if not found.get("ready") and model_versions.is_published(model, of.settings.publish):
        yield "not published"
    if model_fields.is_left_alone(found, model):
        return
    is_copied = of.settings.artifacts == "upload"
    if is_copied and model["revision"] and model_fields.copy_of(found, model) == model_fields.NO_COPY:
        yield "not copied"
    if model_fields.lacks_details(found, model):
        yield "without status, parameters and metrics, because an older version has made it"
    elif model_fields.edits(found, wanted) or model_fields.new_metadata(found, wanted):
        yield "other name, address, tags, status, parameters, versions or aliases"


def _points_that_differ(model: Model, found: Mapping[str, Any], of: TaskOfRun, tasks: Tasks) -> Iterator[str]:
    for (title, series), drawn in model_metrics.curves(model["points"], of.settings.scalars).items():
        held = dict(tasks.curve_points(found["id"], title, series, of_model=True))
        others = [step for step, (value, _) in drawn.items() if step not in held or not same_number(held[step], value)]
        if others:
            yield f"{title}/{series}: {len(others)} of {len(drawn)} points are missing or other"
