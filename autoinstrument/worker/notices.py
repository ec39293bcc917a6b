"""What the training process was told about its run's Task, so that it is told each thing once."""

from __future__ import annotations

from collections.abc import Sequence

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.clone_run.lineage import lineage
from autoinstrument.records import RunLinked, RunStarted


def link_of(run: RunStarted, task: Task, *, delivered: bool, steps: Sequence[str] = ()) -> RunLinked:
    """Return what the training process is told of its run's Task; with `delivered`, that the Task holds all of it."""
    origin = lineage(run.tags) if task.adopted else {}
    return RunLinked(run.run_id, task.id, task.url, task.adopted, delivered, origin, list(steps))


class Notices:
    """The notices of one run."""

    def __init__(self) -> None:
        self._linked = ""
        self._is_pending = self._are_files_pending = self._is_complete = False

    def is_news(self, task_id: str) -> bool:
        """Return True if the process does not know this Task, or was told that delivery waits."""
        return task_id != self._linked or self._is_pending

    def link(self, task_id: str) -> None:
        """Note that the process was told of a Task that is brought up to date."""
        self._linked, self._is_pending = task_id, False

    def unlink(self) -> None:
        """Have the process told of the Task once more."""
        self._linked = ""

    @property
    def is_pending(self) -> bool:
        """True if the process was told that delivery waits, and nothing since."""
        return self._is_pending

    def leave(self) -> bool:
        """Note that delivery waits; return True if the process must be told."""
        is_new, self._is_pending = not self._is_pending, True
        return is_new

    def leave_files(self) -> bool:
        """Note that only uploads wait; return True if the process must be told."""
        is_new, self._are_files_pending = not self._are_files_pending, True
        return is_new

    @property
    def is_complete(self) -> bool:
        """True if the process was told to write the last tags."""
        return self._is_complete

    def complete(self) -> None:
        """Note that the process was told that the Task is complete."""
        self._is_complete = True

    def reopen(self) -> None:
        """Note that the run goes on."""
        self._is_complete = False
