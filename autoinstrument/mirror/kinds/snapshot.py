"""Kinds of data whose records each hold everything there is: the last one counts, and is sent as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.kinds.kind import RunPart
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.records import Record

Snapshot = TypeVar("Snapshot", bound=Record)


class SnapshotPart(RunPart, Generic[Snapshot]):
    """The part of one kind of record; a record that is empty, and always was, is not worth a request.

    Args:
        kind: the record's class; its first field is the run's id, the others are the data.
        write: writes a record to a Task.
        rejections: the run's.
    """

    def __init__(self, kind: type[Snapshot], write: Callable[[Task, Snapshot], None], rejections: Rejections) -> None:
        self._kind = kind
        self._write = write
        self._rejections = rejections
        self._known: Snapshot | None = None
        self._sent: Snapshot | None = None
        self._sent_to = ""

    def take(self, record: Record) -> None:
        """Remember a record of this kind."""
        if isinstance(record, self._kind) and (self._sent is not None or any(record[1:])):
            self._known = record

    @property
    def has_work(self) -> bool:
        """True while the last record waits to be delivered."""
        return self._known != self._sent

    def send(self, task: Task) -> None:
        """Write the last record, unless this Task has it.

        Raises:
            ClearMLError: the server did not take everything; it is sent again as a whole.
        """
        if self._known is not None and (self._known, task.id) != (self._sent, self._sent_to):
            known = self._known
            self._rejections.send_each(lambda _: self._write(task, known), [known], lambda known: type(known).__name__)
            self._sent, self._sent_to = self._known, task.id
