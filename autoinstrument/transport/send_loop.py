"""The sending thread's work: send what is put into the buffer, and go on with another worker, or without one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoinstrument.bootstrap.explain_log import note
from autoinstrument.guard import guard, own_calls
from autoinstrument.transport.connection import Connection
from autoinstrument.transport.deferred_reads import DeferredReads
from autoinstrument.transport.exit_wait import ExitWait
from autoinstrument.transport.forkable_threads import ThreadStopsError
from autoinstrument.transport.pacing import Pacing
from autoinstrument.transport.send_buffer import SendBuffer
from autoinstrument.transport.worker_link import WorkerLink


class SendLoop:
    """Sends over one connection after the other; without a worker it makes the runs' starts, which records them.

    Args:
        buffer, reads: where records come from.
        link: where they are sent.
        pacing: when.
        exit_wait: gets the report that there is no worker, and of what was done without one.
        follow: called with each new connection, so that its answers are received.
        leave: called where there is no worker, after all starts that wait were made.
        stops: returns True if the thread must stop now, so that the process can fork; it is run again afterwards.

    Attributes:
        is_alone: True once there is no worker, and none can be started.
        failure: why, "" where there is a worker.
    """

    def __init__(
        self,
        buffer: SendBuffer,
        reads: DeferredReads,
        link: WorkerLink,
        pacing: Pacing,
        exit_wait: ExitWait,
        *,
        follow: Callable[[Connection], None],
        leave: Callable[[], None],
        stops: Callable[[], bool],
    ) -> None:
        self.is_alone = False
        self.failure = ""
        self._buffer, self._reads, self._link, self._pacing, self._exit = buffer, reads, link, pacing, exit_wait
        self._follow, self._leave, self._stops = follow, leave, stops
        self._at_work = threading.Lock()
        """Held from taking items out of the buffer until they are sent."""

    @contextmanager
    def idle(self) -> Iterator[bool]:
        """Keep the thread from taking items; yield False if it is at work, or about to be."""
        if self._buffer.has_items or not self._at_work.acquire(blocking=False):
            yield False
            return
        try:
            yield not self._buffer.has_items
        finally:
            self._at_work.release()

    def run(self) -> None:
        """Connect and send; if the worker dies, go on with a new one; if none can be started, record starts."""
        failure = ""
        while not self.is_alone and self._link.may_open:
            while (pause_s := self._link.pause_s) and not self._pacing.is_hurrying:
                if self._stops():
                    return
                self._pacing.pause(pause_s)
            failure = "no worker can be started"
            try:
                with own_calls():
                    is_new = not self._link.is_open
                    connection = self._link.open()
                    if is_new:
                        self._follow(connection)
                    failure = "the worker has died"
                    if not self._send_over(connection):
                        return
            except ThreadStopsError:
                return
            except Exception as error:  # of `connect` and `introduce`, which may raise anything
                failure += f" ({type(error).__name__}: {error})"
                note("error", failure)
            is_lost = self._link.has_answered
            self._link.drop()
            if is_lost and self._pacing.is_hurrying:  # the rest is left to `sync`
                break
        if not self.is_alone:
            self.give_up(failure)
        with own_calls():
            self._record_starts()

    def _send_over(self, connection: Connection) -> bool:
        """Send over one connection until it is lost; return False if the thread must stop before, and go on later."""
        while not connection.lost.is_set():
            self._buffer.put_last(self._reads.take())
            while self._buffer:
                self._send_batch(connection)
            if self._stops():
                return False
            self._pacing.wait(self._reads.wait_s())
        return True

    def _send_batch(self, connection: Connection) -> None:
        with self._at_work:
            batch = self._buffer.take_batch()
            if batch:
                try:
                    connection.send(batch)
                except OSError:
                    self._buffer.put_first(batch)  # for the next worker
                    raise
        if self._buffer.has_items:
            self._pacing.rest()

    def give_up(self, failure: str) -> None:
        """Note that there is no worker, and why."""
        self.failure, self.is_alone = failure, True
        self._exit.alone()

    def _record_starts(self) -> None:
        """Do without a worker what can be done: record the runs that begin, and report that they are left to `sync`."""
        while True:
            self._buffer.make_starts()
            if not self._pacing.is_hurrying:  # else the end of the process reports it
                with guard("leaving runs to `sync`"):
                    self._leave()
            self._exit.recorded()
            if self._stops():
                return
            self._pacing.wait_for_wake()
