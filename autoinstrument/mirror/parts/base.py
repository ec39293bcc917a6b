"""What a Task consists of is mirrored in parts, each of which knows one kind of data and how far the Task has it."""

from __future__ import annotations

from typing import Protocol

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.records import Record


class RunPart(Protocol):
    """One kind of a run's data on its way to the Task."""

    def take(self, record: Record) -> None:
        """Remember what a record of this run says; records of other kinds are passed over."""

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered."""

    def send(self, task: Task) -> None:
        """Bring the Task up to what is known.

        Raises:
            FilesUnavailableError: all was sent but what has to be uploaded.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
