"""A run's data sets: one configuration object, and links to those that are data sets of ClearML's as well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Difference, Kind, RunPart, StoredData, TaskOfRun, listed
from autoinstrument.mirror.kinds.snapshot import SnapshotPart
from autoinstrument.mirror.mapping.dataset_links import SECTION, as_parameters, dataset_ids
from autoinstrument.mirror.mapping.links import page
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Dataset, InputsLogged
from autoinstrument.scrubber import without_credentials

_OBJECT = "MLflow datasets"
_LONGEST, _ALL = 100_000, 2_000_000
"""Characters of one data set's schema or profile, and of all data sets: a Task is one document of 16 MB."""


class Datasets(Kind):
    """Each record lists all data sets of the run."""

    name = "dataset"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""

        def write(task: Task, logged: InputsLogged) -> None:
            context.tasks.set_configuration(task, [as_configuration(logged.datasets)])
            _link(context, task, logged)

        return SnapshotPart(InputsLogged, write, context.rejections)

    def may_be_there(self, run: StoredRun) -> bool:
        """See `Kind.may_be_there`."""
        return bool(run.named)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return one record."""
        return [run.state("inputs")]

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Return nothing: a search does not give a run's data sets."""
        return ()

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare the whole object; a run without data sets has none."""
        held = of.configuration(_OBJECT)
        for logged in data:
            if isinstance(logged, InputsLogged) and logged.datasets:
                wanted = storable.text(as_configuration(logged.datasets)["value"])
                if not held:
                    yield Difference(self.name, f"{len(logged.datasets)} missing")
                elif held != wanted:
                    yield Difference(self.name, "other than in MLflow")
                if ids := dataset_ids(logged.datasets):
                    linked, known = of.section(SECTION).values(), tasks.data_sets(ids.values())
                    unlinked = [name for name, each in ids.items() if each in known and each not in linked]
                    yield from listed(self.name, "not linked to ClearML's data set", unlinked)

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each data set."""
        for logged in data:
            for each in logged.datasets if isinstance(logged, InputsLogged) else ():
                yield f"dataset {each['name']}", f"digest {each['digest']}, tags {each['tags']}"


def _link(context: RunContext, task: Task, logged: InputsLogged) -> None:
    """Note data sets of ClearML's as its SDK does, and link their pages; other ids are left alone."""
    if ids := dataset_ids(logged.datasets):
        known = context.tasks.data_sets(ids.values())
        ids = {name: each for name, each in ids.items() if each in known}
        context.tasks.set_hyperparameters(task, as_parameters(ids))
        pages = [
            page(f"data set {name}", known[each][1], context.run, [["ClearML data set", known[each][0]], ["id", each]])
            for name, each in ids.items()
        ]
        context.tasks.add_artifacts(task, pages)


def as_configuration(values: Iterable[Dataset]) -> dict[str, str]:
    """Return the configuration object: a JSON list, in which MLflow's JSON texts are objects."""
    room = _ALL
    described: list[Any] = []
    for dataset in values:
        item: dict[str, Any] = {name: dataset[name] for name in ("name", "digest", "source_type")}
        for field in ("source", "schema", "profile"):
            if dataset[field]:
                item[field] = _parsed(dataset[field], room)
                room -= min(len(dataset[field]), _LONGEST)
        described.append({**item, "tags": dataset["tags"]})
    text = json.dumps(described, indent=2, ensure_ascii=False)
    return {"name": _OBJECT, "value": text, "type": "json", "description": "data sets of the MLflow run"}


def _parsed(text: str, room: int) -> Any:
    """Return the value of a JSON text, without credentials in addresses; only the length of one that is too long."""
    if len(text) > min(_LONGEST, room):
        return f"{len(text)} characters, left out"
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: {key: _clean(value) for key, value in pairs})
        json.dumps([[[value]]], indent=2)  # as it will be written, a bit deeper
    except (ValueError, RecursionError):
        return _clean(text)
    return value


def _clean(value: Any) -> Any:
    return without_credentials(value) if isinstance(value, str) else value
