"""Models that a run has read: the Task's input models, the same ClearML models that other runs' Tasks have put out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.shared_models import RUN, URI, uri_of
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.growing import GrowingPart
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun, listed
from autoinstrument.mirror.mapping import model_fields
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import InputModel, Model, ModelsRead, Record
from autoinstrument.scrubber import hide_in_text

PROPERTY = "mlflow_input_models"
"""User property that names them by their URIs. A clone has those of its origin, which its own run may not read."""
_MOST_NAMED, _BETWEEN = 100, ", "


class InputModels(Kind):
    """MLflow 3 notes some of them; the others were seen by the agent alone."""

    name = "input model"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _InputModelsPart(context)

    def may_be_there(self, run: StoredRun) -> bool:
        """See `Kind.may_be_there`."""
        return bool(run.named)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("input models")]

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return nothing: a search does not give a run's models."""
        return ()

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Look for those that MLflow notes; the Task may have others."""
        for read in data:
            if isinstance(read, ModelsRead) and read.models:
                linked = [str(entry.get("model")) for entry in (of.task.get("models") or {}).get("input") or []]
                held = {uri_of(model) for model in tasks.shared_models.of_ids(linked)}
                missing = [model["name"] for model in read.models if _uri(model) not in held]
                remedy = f"`autoinstrument sync --full --run {read.run_id}` links them"
                yield from (
                    Difference(self.name, f"{each.detail}; {remedy}") for each in listed("", "missing", missing)
                )

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each model by its name, because ids are new each time."""
        for read in data:
            for model in read.models if isinstance(read, ModelsRead) else ():
                yield f"input model {model['name']}", f"flavors {model['flavors']}"


class _InputModelsPart(GrowingPart[InputModel]):
    name = "input models"

    def __init__(self, context: RunContext) -> None:
        super().__init__(context, context.journal.input_models)
        self._of_origin: list[str] = []
        """URIs of models that a clone has because the run of its origin has read them."""

    def items_of(self, record: Record) -> list[InputModel]:
        return record.models if isinstance(record, ModelsRead) else []

    def key(self, item: InputModel) -> str:
        return item["uri"]

    def found(self, task: Task, *, is_given: bool) -> None:
        run = self._context.run
        if is_given and run.owned and not run.resumed and task.run_id not in ("", run.run_id):
            held = self._context.tasks.get(task.id)
            named = ((held.get("hyperparams") or {}).get(PROPERTIES) or {}).get(PROPERTY) or {}
            self._of_origin = list(filter(None, str(named.get("value") or "").split(_BETWEEN)))

    def write(self, task: Task, items: list[InputModel]) -> None:
        tasks, shared = self._context.tasks, self._context.tasks.shared_models
        holder = tasks.models.task(task.id)
        inputs, outputs = _ids(holder, "input"), _ids(holder, "output")
        linked = {uri_of(model) for model in shared.of_ids(inputs)}
        wanted = {_uri(item): item for item in items}
        missing = [uri for uri in wanted if uri not in linked]
        found = shared.of_uris(missing)
        for uri in missing:
            model = found.get(uri) or shared.made(holder["project"], *_fields(wanted[uri]), uri)
            if model["id"] not in (*inputs, *outputs):  # a run may load what it has logged
                taken = [entry.get("name") for entry in holder["models"]["input"]]
                name = model_fields.free_name(str(model["name"]), taken)
                tasks.models.link(holder, name, model["id"], "input")
        self._name(task, list(wanted))

    def conclude(self, task: Task) -> None:
        """Remove from a clone what its own run has not read."""
        gone = [uri for uri in self._of_origin if uri not in map(_uri, self._items.values())]
        if gone:
            shared = self._context.tasks.shared_models
            holder = self._context.tasks.models.task(task.id)
            ids = {model["id"] for model in shared.of_ids(_ids(holder, "input")) if uri_of(model) in gone}
            if names := [str(entry.get("name")) for entry in holder["models"]["input"] if entry.get("model") in ids]:
                shared.unlink_inputs(task.id, names)
            self._name(task, [_uri(item) for item in self._items.values()])
        self._of_origin = []

    def _name(self, task: Task, uris: list[str]) -> None:
        named = _BETWEEN.join(uris[:_MOST_NAMED])
        self._context.tasks.set_hyperparameters(task, [hyperparameter(PROPERTIES, PROPERTY, named, "str")])


def _uri(item: InputModel) -> str:
    """Return a model's URI as the metadata of its ClearML model has it, see `model_fields.wanted`."""
    return storable.text(hide_in_text(item["uri"]))


def _ids(holder: Mapping[str, Any], kind: str) -> list[str]:
    """Return the ids of a Task's models of a kind, "input" or "output"."""
    return [str(entry.get("model")) for entry in holder["models"][kind]]


def _fields(item: InputModel) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the fields and the metadata of a model that ClearML does not have yet, as its own run would begin it."""
    address = model_fields.address(cast("Model", item))  # it reads two fields, which both kinds have
    fields = {
        "name": acceptable(item["name"]),
        "uri": storable.text(address),
        "framework": model_fields.framework(item["flavors"]),
    }
    metadata = {
        URI: _uri(item),
        RUN: item["source_run"],
        "mlflow_flavors": ", ".join(item["flavors"]),
    }
    values = {key: storable.text(value) for key, value in metadata.items() if value}
    return fields, [{"key": key, "type": "str", "value": value} for key, value in values.items()]
