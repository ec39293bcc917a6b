"""The training process's bounded buffer: any thread puts items in, the sending thread takes batches of records out.

It takes no lock: a signal handler may print, and so put text in, at any moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from autoinstrument.guard import guard
from autoinstrument.records import ConsoleWritten, EventsDropped, MetricsLogged, Point, Record
from autoinstrument.transport import limits
from autoinstrument.transport.budget import DROPPABLE, ONE_POINT, Budget, content_weight, items, weight
from autoinstrument.transport.deferred_records import DeferredFile, DeferredStart, Item

_JOIN_MS, _JOIN_CHARACTERS = 20, 4000
_FRAME_RECORDS, _FRAME_BYTES = limits.FRAME  # looked up for each record

_Waiting = tuple[Item, int, Budget | None]
"""An item, its size in bytes, and the budget that counts it; None for items that are few."""


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

    @property
    def fills_message(self) -> bool:
        """True if so much waits that gathering more would make no message larger."""
        return len(self._waiting) >= _FRAME_RECORDS or self._records.bytes >= _FRAME_BYTES

    def has_room(self, size: int) -> bool:
        """Return True if a `DeferredFile` with a content of `size` bytes fits."""
        return self._contents.has_room(size)

    def begin(self) -> None:
        """Note that a first run has begun: from now on the buffer is emptied, and keeps the oldest text."""
        if self._is_early:
            self._is_early = False
            self._console = Budget(limits.SEND_CONSOLE)

    def put(self, item: Item) -> bool:
        """Put an item in; its lists belong to the buffer from then on.

        Returns:
            False if it was left out.
        """
        if isinstance(item, ConsoleWritten):
            budget = self._console
            size = weight(item)
            while not budget.take(size):
                if not (self._is_early and self._waiting):
                    return False
                self._take()  # no run has begun, and maybe none ever will: the latest text is kept
            self._waiting.append((item, size, budget))
        elif isinstance(item, DROPPABLE):
            budget = self._records
            size = weight(item)
            if not self._waiting:
                budget.clear()
            if not budget.take(size):
                self._dropped[item.run_id] = self._dropped.get(item.run_id, 0) + items(item)
                return False
            self._waiting.append((item, size, budget))
        elif isinstance(item, DeferredFile):
            size = len(item.content)
            self._contents.add(size)
            self._waiting.append((item, size, self._contents))
        else:
            self._waiting.append((item, 0, None))
        return True

    def put_point(self, run_id: str, point: Point) -> bool:
        """Put one point in, as `put` does; return True if enough waits for a whole message."""
        waiting, budget = self._waiting, self._records
        if not waiting:
            budget.clear()
        if budget.take(ONE_POINT):
            waiting.append((MetricsLogged(run_id, [point]), ONE_POINT, budget))
        else:
            self._dropped[run_id] = self._dropped.get(run_id, 0) + 1
        return len(waiting) >= _FRAME_RECORDS

    def put_first(self, items: Iterable[Item]) -> None:
        """Put items in front of all others, in their order; they are few, or were in the buffer before."""
        self._waiting.extendleft((item, 0, None) for item in reversed(list(items)))

    def put_last(self, items: Iterable[Item]) -> None:
        """Put items in that are few, behind all others."""
        self._waiting.extend((item, 0, None) for item in items)

    def take_batch(self) -> list[Record]:
        """Take the records of one message out, and make those that are deferred; for the sending thread."""
        batch: list[Record] = []
        size = 0
        while self._waiting and len(batch) < _FRAME_RECORDS and size < _FRAME_BYTES:
            item, weighed = self._take()
            record = _made(item)
            if record is not None:
                size += weighed or weight(record) + content_weight(record)
                _append(batch, record)
        while self._dropped:
            batch.append(EventsDropped(*self._dropped.popitem()))
        return batch

    def take_all(self) -> list[Item]:
        """Take all items out, as they are."""
        return [self._take()[0] for _ in range(len(self._waiting))]

    def make_starts(self) -> None:
        """Empty the buffer where there is no worker: starts are made, which records the runs, the rest is dropped."""
        while self._waiting:
            item, _ = self._take()
            if isinstance(item, DeferredStart):
                _made(item)

    def _take(self) -> tuple[Item, int]:
        """Take the first item out; return it with its size, 0 where it was not weighed."""
        item, size, budget = self._waiting.popleft()
        if budget is not None:
            budget.remove(size)
        return item, size


def _made(item: Item) -> Record | None:
    if not callable(item):
        return item
    with guard("describing a run"):
        return item()
    return None


def _append(batch: list[Record], record: Record) -> None:
    """Append a record, or join it with the last one, so that the worker takes a third of the time for a point."""
    joined = _joined(batch[-1], record) if batch else None
    if joined is None:
        batch.append(record)
    else:
        batch[-1] = joined


def _joined(last: Record, record: Record) -> Record | None:
    """Return two records in one, None if they do not belong together.

    Text continues the text before, because `print` writes each word by itself. Points of one run are joined as if they
    had been logged in one batch.
    """
    if isinstance(record, MetricsLogged):
        if isinstance(last, MetricsLogged) and record.run_id == last.run_id:
            last.points.extend(record.points)
            return last
    elif (
        isinstance(record, ConsoleWritten)
        and isinstance(last, ConsoleWritten)
        and record.stream == last.stream
        and record.time_ms - last.time_ms < _JOIN_MS
        and len(last.text) < _JOIN_CHARACTERS
    ):
        return last._replace(text=last.text + record.text)
    return None
