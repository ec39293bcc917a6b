"""Receive records from training processes, and queue them; the queue is bounded, and shared fairly.

One thread per connection reads; one thread takes records out, of each process in turn. Records that MLflow's store
holds as well (points, parameters, tags) are dropped and counted if there is no room; all others are small, or go to
disk, and wait.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator

from autoinstrument.guard import guard
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import (
    AbortLogged,
    ArtifactLogged,
    ConsoleAwaited,
    ConsoleDrained,
    EventsDropped,
    Record,
)
from autoinstrument.transport.budget import DROPPABLE, Budget, content_weight, items, weight
from autoinstrument.transport.limits import RECEIVED_CONTENTS, RECEIVED_RECORDS
from autoinstrument.transport.protocol import read_all
from autoinstrument.worker.training_process import TrainingProcess

_PATIENCE_S = 0.25
"""Seconds that a reader waits for room before it drops a record: console text may follow."""
_RELAY_S = 5.0
"""Seconds that a process's records wait for its relay's text. It was sent before them, and is lost if the connection
of the relay belongs to an earlier worker."""


class ConnectionClosed(NamedTuple):
    """The process has closed its connection."""


Arrived = tuple[TrainingProcess, Record | ConnectionClosed]


class _Waiting(NamedTuple):
    record: Record | ConnectionClosed
    size: int
    content: int
    """Bytes of the record, and of the file's content that it carries, weighed when it arrived."""


class _Queue:
    """The records of one process that wait."""

    def __init__(self) -> None:
        self.records: deque[_Waiting] = deque()
        self.bytes = 0
        self.held_until = math.inf
        """When it goes on at the latest, in seconds of the monotonic clock, while it waits for a relay's text."""

    def exceeds(self, share: float) -> bool:
        """Return True if more waits than a share of the limit, from 0 to 1."""
        return self.bytes > share * RECEIVED_RECORDS.bytes or len(self.records) > share * RECEIVED_RECORDS.records


class Receiver:
    """Records of several processes; those of one process are in the order in which they arrived.

    `ConsoleAwaited` holds up a process's records until the text of its relay, which has another connection, was taken.

    Half of the room is for whoever comes first. In the other half each process has its share, so that one that floods
    the worker does not cost the others their data.
    """

    def __init__(self) -> None:
        self._queues: dict[TrainingProcess, _Queue] = {}
        """By process, in the order in which they are served: only those of which something waits."""
        self._held: dict[TrainingProcess, _Queue] = {}
        """Likewise, of processes that wait for the text of their relays."""
        self._drained: dict[int, int] = {}
        """Number of the last `ConsoleDrained`, by process id."""
        self._reading = 0
        self._changed = threading.Condition()
        self._records, self._contents = Budget(RECEIVED_RECORDS), Budget(RECEIVED_CONTENTS)
        self._full: set[TrainingProcess] = set()
        self._dropped: Counter[str] = Counter()
        self._is_woken = False

    def read(self, process: TrainingProcess) -> None:
        """Read what a process sends until it closes the connection; runs on a separate thread."""
        with self._changed:
            self._reading += 1
        with guard("reading from the training process"):
            for record in read_all(process.connection):
                if isinstance(record, AbortLogged):
                    process.abort_logged.set()  # the thread that aborts the process waits for it
                else:
                    self._put(process, record)
        with guard("finding out how a process ended"):  # without a free descriptor, the system cannot be asked
            process.note_closed()
        self._add(process, ConnectionClosed())
        with self._changed:
            self._reading -= 1
            self._full.discard(process)

    def take(self, wait_s: float, most: int) -> Iterator[Arrived]:
        """Yield queued records, at most `most`; wait for the first one, or for `wake`."""
        with self._changed:
            held_s = min((queue.held_until for queue in self._held.values()), default=math.inf) - time.monotonic()
            wait_s = max(0.0, min(wait_s, held_s))
            self._changed.wait_for(lambda: self._queues or self._dropped or self._is_woken, wait_s)
            self._is_woken = False
            self._let_go()
        for _ in range(most):
            with self._changed:
                if not self._queues:
                    return
                process = next(iter(self._queues))
                queue = self._queues.pop(process)
                if self._awaits_relay(queue):
                    queue.held_until = time.monotonic() + _RELAY_S
                    self._held[process] = queue
                    continue
                waiting = queue.records.popleft()
                queue.bytes -= waiting.size
                queue.held_until = math.inf
                if queue.records:
                    self._queues[process] = queue  # last in turn
                self._remove(waiting)
                self._note_order(process, waiting.record)
                self._changed.notify_all()
            if not isinstance(waiting.record, ConsoleDrained):
                yield process, waiting.record

    def _awaits_relay(self, queue: _Queue) -> bool:
        first = queue.records[0].record
        if not isinstance(first, ConsoleAwaited) or time.monotonic() >= queue.held_until:
            return False
        return self._drained.get(first.pid, 0) < first.number

    def _note_order(self, process: TrainingProcess, record: Record | ConnectionClosed) -> None:
        """Note what a record says about the order of two connections."""
        if isinstance(record, ConsoleDrained):
            self._drained[record.pid] = record.number
            self._let_go()
        elif isinstance(record, ConnectionClosed):
            self._drained.pop(process.pid, None)

    def _let_go(self) -> None:
        """Go on with the processes that wait no longer for their relays."""
        for process, queue in list(self._held.items()):
            if not self._awaits_relay(queue):
                del self._held[process]
                self._queues[process] = queue

    def wake(self) -> None:
        """Make `take` return now, though nothing has arrived."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def dropped(self) -> list[EventsDropped]:
        """Return how much was dropped since the last call, by run."""
        with self._changed:
            dropped, self._dropped = self._dropped, Counter()
        return [EventsDropped(*each) for each in dropped.items()]

    def _put(self, process: TrainingProcess, record: Record) -> None:
        if isinstance(record, ArtifactLogged) and not self._contents.has_room(content_weight(record)):
            record = record._replace(content=None)  # the store has it
        if isinstance(record, DROPPABLE) and not self._has_room(process):
            with self._changed:
                self._dropped[record.run_id] += items(record)
            return
        self._add(process, record)

    def _has_room(self, process: TrainingProcess) -> bool:
        with self._changed:
            wait_s = 0.0 if process in self._full else _PATIENCE_S
            has_room = self._changed.wait_for(lambda: self._fits(process), wait_s)
            (self._full.discard if has_room else self._full.add)(process)
            return has_room

    def _fits(self, process: TrainingProcess) -> bool:
        if not self._records.has_room():
            return False
        queue = self._queues.get(process) or self._held.get(process)
        is_half_free = self._records.has_room(times=0.5)
        share = 0.5 / self._reading if self._reading > 1 else 1.0
        return is_half_free or queue is None or not queue.exceeds(share)

    def _add(self, process: TrainingProcess, record: Record | ConnectionClosed) -> None:
        is_end = isinstance(record, ConnectionClosed)
        size = 0 if isinstance(record, ConnectionClosed) else weight(record)
        waiting = _Waiting(record, size, content_weight(record))
        with self._changed:
            # Twice the bound holds for everything: then the socket fills up, and the training process's own buffer.
            self._changed.wait_for(lambda: self._records.has_room(times=2) or is_end)
            queue = self._held.get(process) or self._queues.setdefault(process, _Queue())
            queue.records.append(waiting)
            queue.bytes += size
            self._records.add(size)
            if waiting.content:
                self._contents.add(waiting.content)
            self._changed.notify_all()

    def _remove(self, waiting: _Waiting) -> None:
        self._records.remove(waiting.size)
        if waiting.content:
            self._contents.remove(waiting.content)
