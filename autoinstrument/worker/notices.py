"""The notices about a run's Task that its training process got, so that it gets each of them once."""

from __future__ import annotations

from collections.abc import Sequence

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.clone_run.lineage import lineage
from autoinstrument.records import RunLinked, RunStarted


def link_of(run: RunStarted, task: Task, *, delivered: bool, steps: Sequence[str] = ()) -> RunLinked:
    """Return the notice for the training process about its run's Task; `delivered` if the Task holds all data."""
    origin = lineage(run.tags) if task.adopted else {}
    return RunLinked(run.run_id, task.id, task.url, task.adopted, delivered, origin, list(steps))


class Notices:
    """The notices of one run."""

    def __init__(self) -> None:
        self._linked = ""
        self._is_pending = self._are_files_pending = False

    def is_news(self, task_id: str) -> bool:
        """Return True if the process does not know this Task, or got the notice that delivery waits."""
        return task_id != self._linked or self._is_pending

    def link(self, task_id: str) -> None:
        """Note that the process got the notice of a Task that is brought up to date."""
        self._linked, self._is_pending = task_id, False

    def unlink(self) -> None:
        """Let the process get the notice of the Task once more."""
        self._linked = ""

    @property
    def is_pending(self) -> bool:
        """True if the process got the notice that delivery waits, and none since."""
        return self._is_pending

    def leave(self) -> bool:
        """Note that delivery waits; return True if the process must get a notice."""
        is_new, self._is_pending = not self._is_pending, True
        return is_new

    def leave_files(self) -> bool:
        """Note that only uploads wait; return True if the process must get a notice."""
        is_new, self._are_files_pending = not self._are_files_pending, True
        return is_new
