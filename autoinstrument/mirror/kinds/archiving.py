"""Deletion of a run: the Task of a run in MLflow's trash is archived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Delivery, Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Record, RunDeleted, RunRestored


class Archiving(Kind):
    """Archiving stops a Task that is running, so it waits for the Task's end."""

    name = "status"
    task_fields = ("system_tags", "status")
    is_in_search = True

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _ArchivingPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return a record of a deleted run, nothing of any other."""
        return [RunDeleted(run.run_id)] if run.stored.deleted else []

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare; an adopted Task that runs is left alone."""
        is_archived, is_running = _is_archived(of.task), of.task.get("status") == "in_progress"
        if is_archived and not of.stored.deleted:
            yield Difference("status", "archived, though the run is not deleted")
        elif of.stored.deleted and not (is_archived or (of.is_adopted and is_running)):
            yield Difference("status", "the run is deleted, the Task is not archived")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield a fact about a deleted run."""
        yield from (("deleted", "yes") for record in data if isinstance(record, RunDeleted))


class _ArchivingPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._tasks = context.tasks
        self._wanted: bool | None = None
        self._is_archived: bool | None = None
        self._is_running = True

    def take(self, record: Record) -> None:
        if isinstance(record, (RunDeleted, RunRestored)):
            self._wanted = isinstance(record, RunDeleted)

    def take_held(self, task: Mapping[str, Any]) -> None:
        self._is_archived = _is_archived(task)

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        if self._is_archived is None:
            return  # nothing is known of the Task, which a person may have archived
        wanted = any(isinstance(record, RunDeleted) for record in data)
        self._wanted = None if wanted == self._is_archived else wanted

    @property
    def has_work(self) -> bool:
        return self._wanted is False or (self._wanted is True and not self._is_running)

    def created(self, *, bare: bool) -> None:
        self._is_running = True

    def found(self, task: Task, *, is_given: bool) -> None:
        self._is_running = task.status == "in_progress"

    def close(self, task: Task) -> Task:
        self._is_running = task.status == "in_progress"
        if self._wanted is not None and self.has_work:
            self._tasks.archive(task, self._wanted)
            self._wanted = None
        return task


def _is_archived(task: Mapping[str, Any]) -> bool:
    return "archived" in (task.get("system_tags") or [])
