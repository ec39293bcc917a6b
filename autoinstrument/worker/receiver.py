"""Receive records from the training process and its children, and queue them; the queue is bounded.

One thread per connection reads; one thread takes records out. Records that MLflow's store holds as well (points,
parameters, tags) are dropped and counted if there is no room; all others are small, or go to disk, and wait.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from autoinstrument.guard import guard
from autoinstrument.records import AbortLogged, ArtifactLogged, EventsDropped, Record
from autoinstrument.transport.budget import DROPPABLE, Budget, content_weight, items, weight
from autoinstrument.transport.limits import RECEIVED_CONTENTS, RECEIVED_RECORDS
from autoinstrument.transport.protocol import read_all
from autoinstrument.worker.training_process import TrainingProcess

_PATIENCE_S = 0.25
"""How long a reader waits for room before it drops a record: console text may follow."""


class ConnectionClosed(NamedTuple):
    """The process has closed its connection."""


Arrived = tuple[TrainingProcess, Record | ConnectionClosed]


class _Waiting(NamedTuple):
    arrived: Arrived
    size: int
    content: int
    """Bytes of the record, and of the file's content that it carries, weighed when it arrived."""


class Receiver:
    """Records in the order in which they arrived; those of one process are in the order of that process."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._records, self._contents = Budget(RECEIVED_RECORDS), Budget(RECEIVED_CONTENTS)
        self._full = False
        self._dropped: Counter[str] = Counter()

    def read(self, process: TrainingProcess) -> None:
        """Read what a process sends until it closes the connection; runs on a separate thread."""
        with guard("reading from the training process"):
            for record in read_all(process.connection):
                if isinstance(record, AbortLogged):
                    process.abort_logged.set()  # the thread that takes records waits for it
                else:
                    self._put(process, record)
        process.note_death()
        self._add((process, ConnectionClosed()))

    def take(self, wait_s: float, most: int) -> Iterator[Arrived]:
        """Yield the queued records, at most `most`, and wait for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._dropped, wait_s)
        for _ in range(most):
            with self._changed:
                if not self._waiting:
                    return
                waiting = self._waiting.popleft()
                self._remove(waiting)
                self._changed.notify_all()
            yield waiting.arrived

    def dropped(self) -> list[EventsDropped]:
        """Return how much was dropped since the last call, by run."""
        with self._changed:
            dropped, self._dropped = self._dropped, Counter()
        return [EventsDropped(*each) for each in dropped.items()]

    def overtake(self, is_wanted: Callable[[TrainingProcess, Record | ConnectionClosed], bool]) -> None:
        """Call `is_wanted` with each queued record, and remove those that it has handled."""
        with self._changed:
            all_waiting, self._waiting = self._waiting, deque()
        kept: deque[_Waiting] = deque()
        for waiting in all_waiting:
            if is_wanted(*waiting.arrived):
                with self._changed:
                    self._remove(waiting)
            else:
                kept.append(waiting)
        with self._changed:
            kept.extend(self._waiting)
            self._waiting = kept
            self._changed.notify_all()

    def _put(self, process: TrainingProcess, record: Record) -> None:
        if isinstance(record, ArtifactLogged) and not self._contents.has_room(content_weight(record)):
            record = record._replace(content=None)  # the store has it
        if isinstance(record, DROPPABLE) and not self._has_room():
            with self._changed:
                self._dropped[record.run_id] += items(record)
            return
        self._add((process, record))

    def _has_room(self) -> bool:
        with self._changed:
            wait_s = 0.0 if self._full else _PATIENCE_S
            self._full = not self._changed.wait_for(self._records.has_room, wait_s)
            return not self._full

    def _add(self, arrived: Arrived) -> None:
        record = arrived[1]
        is_end = isinstance(record, ConnectionClosed)
        size = 0 if isinstance(record, ConnectionClosed) else weight(record)
        waiting = _Waiting(arrived, size, content_weight(record))
        with self._changed:
            # Twice the bound holds for everything: then the socket fills up, and the training process's own buffer.
            self._changed.wait_for(lambda: self._records.has_room(times=2) or is_end)
            self._waiting.append(waiting)
            self._records.add(waiting.size)
            if waiting.content:
                self._contents.add(waiting.content)
            self._changed.notify_all()

    def _remove(self, waiting: _Waiting) -> None:
        self._records.remove(waiting.size)
        if waiting.content:
            self._contents.remove(waiting.content)
