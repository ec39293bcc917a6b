"""Kinds of data whose records each name some items: all that were ever named count, and none is taken back."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.guard import guard
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import RunPart
from autoinstrument.records import Record

Item = TypeVar("Item")


class GrowingPart(RunPart, Generic[Item]):
    """The part of one kind of record.

    MLflow does not hold all of the items, so the journal keeps them until the Task is complete.
    """

    name: ClassVar[str]
    """The name of the items in a message about their refusal."""

    def __init__(self, context: RunContext, kept: list[Item]) -> None:
        """Begin with the items of the journal, in whose list (`kept`) new ones are put."""
        self._context = context
        self._kept = kept
        self._items = {self.key(item): item for item in kept}
        self._sent: list[Item] = []
        self._sent_to = ""

    @abstractmethod
    def items_of(self, record: Record) -> list[Item]:
        """Return the items that a record names, none for a record of another kind."""

    @abstractmethod
    def key(self, item: Item) -> str:
        """Return what identifies an item; a later one of the same key takes the place of an earlier one."""

    @abstractmethod
    def write(self, task: Task, items: list[Item]) -> None:
        """Add items to a Task, which may have some of them, and others.

        Raises:
            ClearMLError: the server did not take everything; it is sent again as a whole.
        """

    def take(self, record: Record) -> None:
        """Remember the items of a record of this kind, in the journal too."""
        before = list(self._kept)
        for item in self.items_of(record):
            self._items[self.key(item)] = item
        self._kept[:] = self._items.values()
        if self._kept != before:
            with guard("writing the journal"):
                self._context.journal.save()

    @property
    def has_work(self) -> bool:
        """True while items wait to be delivered."""
        return self._kept != self._sent

    def send(self, task: Task) -> None:
        """Write all items, unless this Task has them.

        Raises:
            ClearMLError: the server did not take everything; it is sent again as a whole.
        """
        items = list(self._items.values())
        if items and (items, task.id) != (self._sent, self._sent_to):
            self._context.rejections.send_each(lambda _: self.write(task, items), [items], lambda _: self.name)
        self._sent, self._sent_to = items, task.id
