"""A run's tags: the hyperparameter section `MLflow tags`, without the note and the link tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Delivery, Difference, Kind, RunPart, StoredData, TaskOfRun, differing
from autoinstrument.mirror.kinds.name_and_note import NOTE
from autoinstrument.mirror.mapping.hyperparameters import by_name, hyperparameter
from autoinstrument.mlflow_store.link_tags import LINK_TAGS
from autoinstrument.mlflow_store.note_link import without_link
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Record, TagDeleted, TagsSet
from autoinstrument.scrubber import hide_named
from autoinstrument.transport.budget import weight

TAGS_SECTION = "MLflow tags"


class Tags(Kind):
    """Tags have one value each; they change, and may be deleted."""

    name = "tag"
    task_fields = ("hyperparams",)
    is_in_search = True

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _TagsPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return all tags in one record."""
        return [TagsSet(run.run_id, dict(run.stored.run.tags))]

    def glance(self, of: TaskOfRun) -> Iterable[Difference]:
        """Compare all values; a tag that was deleted in MLflow must be gone."""
        return differing(self.name, by_name(_items(of.stored.run.tags)), of.section(TAGS_SECTION), exact=True)

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield each tag but what the agent writes: the link tags, and a line of the note."""
        for record in data:
            if isinstance(record, TagsSet):
                tags = {key: without_link(value) if key == NOTE else value for key, value in record.tags.items()}
                written = (*LINK_TAGS, *([] if tags.get(NOTE) else [NOTE]))
                yield from ((f"tag {key}", value) for key, value in tags.items() if key not in written)


class _TagsPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._queue = context.hyperparameters
        self._weight = 0
        self._held: set[str] = set()
        """Names of the tags that the Task has, if that is known."""

    def take(self, record: Record) -> None:
        if isinstance(record, TagsSet):
            self._weight += weight(record)
            self._set(record.tags)
        elif isinstance(record, TagDeleted):
            self._queue.delete(TAGS_SECTION, record.key)

    def take_held(self, task: Mapping[str, Any]) -> None:
        self._held = set((task.get("hyperparams") or {}).get(TAGS_SECTION) or {})

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        for record in data:
            if isinstance(record, TagsSet):
                for name in self._held - by_name(_items(record.tags)).keys():
                    self._queue.delete(TAGS_SECTION, name)
                self.take(record)
        self._held = set()

    def initial(self) -> dict[str, Any]:
        """Queue the tags that the run began with, unless they have changed since."""
        known = self._queue.names(TAGS_SECTION)
        self._queue.put([item for item in _items(self._context.run.tags) if item["name"] not in known])
        return {}

    def found(self, task: Task, *, is_given: bool) -> None:
        if self._context.run.owned:
            self.initial()

    def send(self, task: Task) -> None:
        self._weight = 0  # the queue has been sent

    @property
    def weight(self) -> int:
        return self._weight

    def _set(self, tags: Mapping[str, str]) -> None:
        fitting = {key: value for key, value in tags.items() if self._queue.has_room(TAGS_SECTION, key, value)}
        self._queue.put(_items(fitting))


def _items(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        hyperparameter(TAGS_SECTION, key, hide_named(key, value), "str")
        for key, value in tags.items()
        if key != NOTE and not key.startswith("clearml.")
    ]
