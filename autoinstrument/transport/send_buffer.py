"""The training process's bounded buffer: any thread puts items in, the sending thread takes batches of records out.

It takes no lock: a signal handler may print, and so put text in, at any moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from autoinstrument.guard import guard
from autoinstrument.records import ConsoleWritten, EventsDropped, Record
from autoinstrument.transport import limits
from autoinstrument.transport.budget import DROPPABLE, Budget, content_weight, items, weight
from autoinstrument.transport.deferred_records import DeferredFile, DeferredStart, Item

_JOIN_MS, _JOIN_CHARACTERS = 20, 4000


class _Waiting(NamedTuple):
    item: Item
    size: int
    budget: Budget | None
    """Where it is counted; None for items that are few."""


class SendBuffer:
    """Items in the order in which they were put in. An item that does not fit is left out, never waited for.

    Points, parameters and tags that were left out are counted by run; the count is a record of the next batch.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._records = Budget(limits.SEND_RECORDS)
        self._console = Budget(limits.SEND_EARLY_CONSOLE)
        self._contents = Budget(limits.SEND_CONTENTS)
        self._is_early = True
        self._dropped: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._dropped)

    @property
    def has_items(self) -> bool:
        """True while items wait, and not only the count of those that were left out."""
        return bool(self._waiting)

    def has_room(self, size: int) -> bool:
        """Return True if a `DeferredFile` with a content of `size` bytes fits."""
        return self._contents.has_room(size)

    def begin(self) -> None:
        """Note that a first run has begun: from now on the buffer is emptied, and keeps the oldest text."""
        if self._is_early:
            self._is_early = False
            self._console.limit = limits.SEND_CONSOLE

    def put(self, item: Item) -> bool:
        """Put an item in.

        Returns:
            False if it was left out.
        """
        if isinstance(item, ConsoleWritten):
            return self._put_text(item)
        if isinstance(item, DROPPABLE):
            if not self._waiting:
                self._records.clear()
            if not self._records.has_room():
                self._dropped[item.run_id] = self._dropped.get(item.run_id, 0) + items(item)
                return False
            self._put(item, weight(item), self._records)
        elif isinstance(item, DeferredFile):
            self._put(item, len(item.content), self._contents)
        else:
            self._waiting.append(_Waiting(item, 0, None))
        return True

    def _put_text(self, text: ConsoleWritten) -> bool:
        size = weight(text)
        if self._is_early:  # no run has begun, and maybe none ever will: the latest text is kept
            while self._waiting and not self._console.has_room(size):
                self._take()
        if not self._console.has_room(size):
            return False
        self._put(text, size, self._console)
        return True

    def _put(self, item: Item, size: int, budget: Budget) -> None:
        budget.add(size)
        self._waiting.append(_Waiting(item, size, budget))

    def put_first(self, items: Iterable[Item]) -> None:
        """Put items in front of all others, in their order; they are few, or were in the buffer before."""
        self._waiting.extendleft(_Waiting(item, 0, None) for item in reversed(list(items)))

    def put_last(self, items: Iterable[Item]) -> None:
        """Put items in that are few, behind all others."""
        self._waiting.extend(_Waiting(item, 0, None) for item in items)

    def take_batch(self) -> list[Record]:
        """Take the records of one message out, and make those that are deferred; for the sending thread."""
        batch: list[Record] = []
        size = 0
        while self._waiting and len(batch) < limits.FRAME.records and size < limits.FRAME.bytes:
            waiting = self._take()
            record = _made(waiting.item)
            if record is not None:
                size += waiting.size or weight(record) + content_weight(record)
                _append(batch, record)
        while self._dropped:
            batch.append(EventsDropped(*self._dropped.popitem()))
        return batch

    def make_starts(self) -> None:
        """Empty the buffer where there is no worker: starts are made, which records the runs, the rest is dropped."""
        while self._waiting:
            item = self._take().item
            if isinstance(item, DeferredStart):
                _made(item)

    def _take(self) -> _Waiting:
        waiting = self._waiting.popleft()
        if waiting.budget is not None:
            waiting.budget.remove(waiting.size)
        return waiting


def _made(item: Item) -> Record | None:
    if not callable(item):
        return item
    with guard("describing a run"):
        return item()
    return None


def _append(batch: list[Record], record: Record) -> None:
    """Append a record; text that continues the text before joins it, because `print` writes each word by itself."""
    last = batch[-1] if batch else None
    if (
        isinstance(record, ConsoleWritten)
        and isinstance(last, ConsoleWritten)
        and record.stream == last.stream
        and record.time_ms - last.time_ms < _JOIN_MS
        and len(last.text) < _JOIN_CHARACTERS
    ):
        batch[-1] = last._replace(text=last.text + record.text)
    else:
        batch.append(record)
