"""Data of which each record says all there is: the last one counts, and is sent as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.records import InputsLogged, ModelsLogged, Record, TracesLogged

State = TypeVar("State", ModelsLogged, InputsLogged, TracesLogged)


class SnapshotPart(Generic[State]):
    """The `Part` of one kind of record; what is empty, and always was, is not worth a request."""

    def __init__(self, kind: type[State], write: Callable[[Task, State], None], rejections: Rejections) -> None:
        self._kind: type[State] = kind
        self._write: Callable[[Task, State], None] = write
        self._rejections = rejections
        self._known: State | None = None
        self._sent: State | None = None
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
        """Write the last record, if this Task does not have it.

        Raises:
            ClearMLError: the server did not take everything; it is sent again as a whole.
        """
        if self._known is not None and (self._known, task.id) != (self._sent, self._sent_to):
            known = self._known
            self._rejections.send_each(lambda _: self._write(task, known), [known], lambda known: type(known).__name__)
            self._sent, self._sent_to = self._known, task.id
