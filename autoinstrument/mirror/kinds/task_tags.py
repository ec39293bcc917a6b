"""The Task's tags in ClearML, by `AUTOINSTRUMENT_TAGS`: words, and templates over the run's tags and parameters.

The Task keeps in a property which tags it was given. Only what the run changes is added to its tags or taken from them,
so that tags that a person adds or removes stay as the person wants.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.tasks import GIVEN_TAGS, Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Delivery, Difference, Kind, RunPart, StoredData, TaskOfRun, listed
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.task_tags import given_tags, names_in, rendered
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import ParamsLogged, Record, TagDeleted, TagsSet
from autoinstrument.settings import Settings


class TaskTags(Kind):
    """Without the setting there is nothing to send, and nothing to compare."""

    name = "ClearML tag"
    task_fields = ("hyperparams",)
    is_in_search = True

    def is_mirrored(self, settings: Settings) -> bool:
        """Return True if the settings ask for tags."""
        return bool(settings.tags)

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _TaskTagsPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return what the templates may name."""
        stored = run.stored
        params = [(name, value, "") for name, value in stored.params.items()]
        return [TagsSet(run.run_id, dict(stored.run.tags)), ParamsLogged(run.run_id, params)]

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare with what the Task was given; what it has now is a person's choice."""
        wanted = rendered(of.settings.tags, of.stored.run.tags, of.stored.params)
        given = given_tags(of.section(PROPERTIES).get(GIVEN_TAGS, ""))
        yield from listed(self.name, "missing", [tag for tag in wanted if tag not in given])
        yield from listed(self.name, "no longer in MLflow", [tag for tag in given if tag not in wanted])

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterable[tuple[str, str]]:
        """Return nothing: they are made of the run's tags and parameters, which are facts themselves."""
        return ()


class _TaskTagsPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._templates = context.settings.tags
        self._names = names_in(self._templates)
        self._tags = self._named(context.run.tags)
        self._params: dict[str, str] = {}
        self._given: list[str] = []

    def take(self, record: Record) -> None:
        if isinstance(record, TagsSet):
            self._tags |= self._named(record.tags)
        elif isinstance(record, TagDeleted):
            self._tags.pop(record.key, None)
        elif isinstance(record, ParamsLogged):
            self._params |= self._named({name: value for name, value, _ in record.params})

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        self._tags, self._params = {}, {}
        super().take_stored(data, delivery)

    @property
    def has_work(self) -> bool:
        return bool(self._templates) and set(self._wanted) != set(self._given)

    def initial(self) -> dict[str, Any]:
        if not (wanted := self._wanted):
            return {}
        return {"tags": wanted, "hyperparams": {PROPERTIES: {GIVEN_TAGS: _property(wanted)}}}

    def created(self, *, bare: bool) -> None:
        self._given = self._wanted

    def found(self, task: Task, *, is_given: bool) -> None:
        self._given = given_tags(task.given_tags)

    def start_over(self) -> None:
        self._given = []

    def send(self, task: Task) -> None:
        if not self.has_work:
            return
        wanted, tasks, send_each = self._wanted, self._context.tasks, self._context.rejections.send_each
        new = [tag for tag in wanted if tag not in self._given]
        send_each(functools.partial(tasks.add_tags, task), new, lambda tag: f"the tag {tag[:100]!r}")
        tasks.remove_tags(task, [tag for tag in self._given if tag not in wanted])
        send_each(functools.partial(tasks.set_hyperparameters, task), [_property(wanted)], lambda item: item["name"])
        self._given = wanted

    @property
    def _wanted(self) -> list[str]:
        return rendered(self._templates, self._tags, self._params)

    def _named(self, values: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in values.items() if name in self._names}


def _property(tags: list[str]) -> dict[str, str]:
    return hyperparameter(PROPERTIES, GIVEN_TAGS, json.dumps(tags, ensure_ascii=False), "str")
