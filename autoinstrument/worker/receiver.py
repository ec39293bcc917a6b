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
from autoinstrument.transport.protocol import read_all
from autoinstrument.transport.record_size import DROPPABLE, items, weight
from autoinstrument.worker.training_process import TrainingProcess

MAX_RECORDS, MAX_BYTES, MAX_CONTENT = 20_000, 32 * 2**20, 32 * 2**20
"""Records, their bytes without files' contents, and characters of those."""
_PATIENCE_S = 0.25
"""How long a reader waits for room before it drops a record: console text may follow."""


class ConnectionClosed(NamedTuple):
    """The process has closed its connection."""


Arrived = tuple[TrainingProcess, Record | ConnectionClosed]


class Receiver:
    """Records in the order in which they arrived; those of one process are in the order of that process."""

    def __init__(self) -> None:
        self._records: deque[Arrived] = deque()
        self._changed = threading.Condition()
        self._bytes = self._content = 0
        self._full = False
        self._dropped: Counter[str] = Counter()

    def read(self, process: TrainingProcess) -> None:
        """Read what a process sends until it closes the connection; runs on a thread of its own."""
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
            self._changed.wait_for(lambda: self._records or self._dropped, wait_s)
        for _ in range(most):
            with self._changed:
                if not self._records:
                    return
                arrived = self._records.popleft()
                self._weigh(arrived[1], -1)
                self._changed.notify_all()
            yield arrived

    def dropped(self) -> list[EventsDropped]:
        """Return how much was dropped since the last call, by run."""
        with self._changed:
            dropped, self._dropped = self._dropped, Counter()
        return [EventsDropped(*each) for each in dropped.items()]

    def overtake(self, is_wanted: Callable[[TrainingProcess, Record | ConnectionClosed], bool]) -> None:
        """Call `is_wanted` with each queued record, and remove those that it has handled."""
        with self._changed:
            waiting, self._records = self._records, deque()
        kept: deque[Arrived] = deque()
        for arrived in waiting:
            if is_wanted(*arrived):
                with self._changed:
                    self._weigh(arrived[1], -1)
            else:
                kept.append(arrived)
        with self._changed:
            kept.extend(self._records)
            self._records = kept
            self._changed.notify_all()

    def _put(self, process: TrainingProcess, record: Record) -> None:
        if isinstance(record, ArtifactLogged) and self._content + len(record.content or "") > MAX_CONTENT:
            record = record._replace(content=None)  # the store has it
        if isinstance(record, DROPPABLE) and not self._has_room():
            with self._changed:
                self._dropped[record.run_id] += items(record)
            return
        self._add((process, record))

    def _has_room(self) -> bool:
        with self._changed:
            wait_s = 0.0 if self._full else _PATIENCE_S
            self._full = not self._changed.wait_for(self._is_roomy, wait_s)
            return not self._full

    def _is_roomy(self, times: int = 1) -> bool:
        return len(self._records) < times * MAX_RECORDS and self._bytes < times * MAX_BYTES

    def _add(self, arrived: Arrived) -> None:
        with self._changed:
            # Twice the bound holds for everything: then the socket fills up, and the training process's own buffer.
            self._changed.wait_for(lambda: self._is_roomy(2) or isinstance(arrived[1], ConnectionClosed))
            self._records.append(arrived)
            self._weigh(arrived[1], 1)
            self._changed.notify_all()

    def _weigh(self, record: Record | ConnectionClosed, sign: int) -> None:
        if isinstance(record, ConnectionClosed):
            return
        content = len(record.content or "") if isinstance(record, ArtifactLogged) else 0
        self._content += sign * content
        self._bytes += sign * (weight(record) - content)
