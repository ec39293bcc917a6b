"""The training process's side of the socket: take records from any thread at once, send them from a thread."""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
from collections.abc import Callable

from autoinstrument.guard import guard
from autoinstrument.records import ConsoleWritten, Delivered, Point, ProcessExiting, Record
from autoinstrument.transport import forks
from autoinstrument.transport.answer_reader import AnswerReader
from autoinstrument.transport.budget import DROPPABLE
from autoinstrument.transport.connection import Connection
from autoinstrument.transport.deferred_reads import DeferredReads, Read
from autoinstrument.transport.deferred_records import DeferredStart, Item
from autoinstrument.transport.exit_wait import ExitWait
from autoinstrument.transport.forkable_threads import ForkableThreads
from autoinstrument.transport.pacing import Pacing
from autoinstrument.transport.send_buffer import SendBuffer
from autoinstrument.transport.send_loop import SendLoop
from autoinstrument.transport.worker_link import Attempt, WorkerLink

_SEND, _RECEIVE = "send", "receive"


class Sender:
    """Puts the parts together: buffer, pacing, link to the worker, the two threads, and the wait at exit.

    `post` costs the caller an append. No thread runs and no socket is open before `start`. After a fork the child has
    an empty buffer, and connects for itself as soon as it posts something other than console text.

    Args:
        connect: as in `WorkerLink`; called on the sending thread, or on the thread that announces a run.
        introduce: as in `WorkerLink`; called on the sending thread.
        take: called on the receiving thread with each answer of the worker.
        leave: called on the sending thread where there is no worker, after each `DeferredStart` was made: the runs are
            left to `sync`.
    """

    direct = False

    def __init__(
        self,
        connect: Callable[[Attempt], socket.socket],
        introduce: Callable[[int], list[Record]],
        take: Callable[[Record], None],
        leave: Callable[[], None],
    ) -> None:
        self._connect, self._introduce, self._take, self._leave = connect, introduce, take, leave
        self._pid = os.getpid()
        self._reset()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._forked)
        if forks.WANTED:
            forks.without_threads(self._stop_threads, self._resume)

    def _reset(self) -> None:
        self._started = self._is_connecting = False
        self._starting = threading.RLock()
        self._buffer = SendBuffer()
        self._reads = DeferredReads()
        self._link = WorkerLink(self._connect, self._introduce)
        self._prepare()

    def _prepare(self) -> None:
        self._pacing = Pacing()
        self._exit = ExitWait()
        self._answers = AnswerReader(self._taken, self._lost, lambda: self._threads.stops(_RECEIVE))
        parts = self._buffer, self._reads, self._link, self._pacing, self._exit
        self._loop = SendLoop(*parts, follow=self._answers.follow, leave=self._leave, stops=self.stops)
        self._threads = ForkableThreads({_RECEIVE: self._answers.run, _SEND: self._loop.run})

    def _forked(self) -> None:
        self._link.close_in_child()
        self._answers.close_in_child()
        self.direct = True
        self._reset()

    def post_directly(self) -> None:
        """Have `post` send small records itself.

        Pools and launchers kill their processes without a signal that could be handled; a buffer would be lost then.
        """
        self.direct = True

    def start(self) -> None:
        """Start the two threads, once a process.

        Both now: from Python 3.12 on no thread can be started any more when at-exit handlers run. A first run that
        begins there has been announced, and the worker reads it from MLflow.

        A signal handler that logs to MLflow may get here while its own thread connects: what it posts waits for that
        thread's next record.
        """
        with self._starting:
            if self._started or self._is_connecting:
                return
            self._started = True
            self._pid = os.getpid()
            self._buffer.begin()
            self._prepare()  # anew: gevent may have replaced threads and locks since MLflow was imported
            if forks.WANTED:
                self._answers.make_interruptible()
            try:
                self._threads.start()
            except RuntimeError as error:
                # What is announced to a worker, it reads from MLflow.
                self._loop.give_up(f"no thread can be started ({error})" if self._link.connection is None else "")
                self._exit.recorded()

    @property
    def failure(self) -> str:
        """Why there is no worker, "" where there is one."""
        return self._loop.failure

    # Posting

    def post(self, item: Item) -> None:
        """Take one item; what does not fit is dropped and counted, never waited for."""
        is_text = isinstance(item, ConsoleWritten)
        if is_text:
            if self._pid != os.getpid() or self._loop.is_alone:
                return  # console text alone is no reason to connect from a forked child
        elif self._loop.is_alone:
            if not (isinstance(item, DeferredStart) and self._threads.is_started(_SEND)):
                return
            self._exit.recording()
        elif self.direct:
            with guard("sending at once"):
                if self._send_directly(item):
                    return
        if not self._buffer.put(item):
            return
        if self._started:
            self._go_on()
            self._pacing.wake(soon=not isinstance(item, DROPPABLE) or self._buffer.fills_message)
        elif not is_text:
            with guard("starting the sender"):
                self.start()

    def post_point(self, run_id: str, point: Point) -> bool:
        """Take one point as `post` does, with less work; return False if only `post` can take it now."""
        if not self._started or self.direct or self._loop.is_alone or self._threads.stopped:
            return False
        self._pacing.wake(soon=self._buffer.put_point(run_id, point))
        return True

    def take_back(self) -> list[Item]:
        """Take out what was posted before the threads were started."""
        return self._buffer.take_all()

    def post_soon(self, run_id: str, kind: str, read: Read, wait_s: float = 0.0) -> None:
        """Request a read of one kind of a run's data: soon, once for many changes, and before the run's end.

        Not before `wait_s` seconds have gone, unless the run ends.
        """
        if self._loop.is_alone:
            return
        self._reads.note(run_id, kind, read, wait_s)
        if self._started:
            self._go_on()
            self._pacing.wake()
        else:
            with guard("starting the sender"):
                self.start()

    def post_now(self, run_id: str = "") -> None:
        """Post what `post_soon` holds of a run, or of all runs, ahead of what is posted next."""
        self.post(functools.partial(self._read_now, run_id))

    def _read_now(self, run_id: str, *, again: bool = True) -> None:
        """Put in front what has been noted by then, also by work of the sending thread that was posted before.

        Behind it comes what these reads note themselves, once: whoever looks again and again notes that, too.
        """
        if reads := self._reads.take(run_id=run_id, now=True):
            more = [functools.partial(self._read_now, run_id, again=False)] if again else []
            self._buffer.put_first([*reads, *more])

    def has_room(self, size: int) -> bool:
        """Return True if content of `size` bytes may be posted; nothing may wait where records are sent at once."""
        return not self.direct and self._buffer.has_room(size)

    def ask(self, question: Record) -> bool:
        """Post a question to the worker behind everything that was posted before, noted reads among it.

        Returns:
            False if nothing was ever posted, so that the worker need not be asked.
        """
        if self._started:
            self.post_now()
            self.post(question)
        return self._started

    # Sending from the caller's thread

    def announce(self, record: Record) -> None:
        """Send a small record from the calling thread, so that it outlives this process from now on.

        It takes the time that starting a process takes the first time (about a millisecond) and some microseconds
        later. Where the sending thread is at work it is left out.
        """
        self._connect_early()
        self._send_now(record)

    def reply(self, record: Record) -> None:
        """Send a small record from the receiving thread, at once: the worker may be about to end the process."""
        if not self._send_now(record):
            self.post(record)

    def _connect_early(self) -> None:
        with self._starting:
            if self._started or self._is_connecting:
                return
            self._is_connecting = True
            try:
                self._link.connect_early()
            finally:
                self._is_connecting = False

    def _send_now(self, record: Record) -> bool:
        connection = self._link.connection
        return connection is not None and connection.send_now(record)

    def _send_directly(self, item: Item) -> bool:
        """Send a record from the calling thread, where nothing that was posted before is still on its way."""
        if callable(item):
            return False
        with self._loop.idle() as is_idle:
            if not is_idle:
                return False
            self._connect_early()
            return self._send_now(item)

    # Threads

    def _taken(self, record: Record) -> None:
        if isinstance(record, Delivered):
            self._exit.delivered()
        else:
            self._take(record)

    def _lost(self, connection: Connection) -> None:
        self._pacing.look()
        if self._pacing.is_hurrying and connection.is_answered:  # else another worker is tried
            self._exit.lost()

    def stops(self) -> bool:
        """Return True if the sending thread must stop now; for what it calls."""
        return self._threads.stops(_SEND)

    def _stop_threads(self) -> list[threading.Thread]:
        """Stop the threads where they can go on later, see `forks`; return those that will stop."""
        running = self._threads.running()
        if not self._answers.is_interruptible or self._pacing.is_hurrying or threading.current_thread() in running:
            return []
        self._threads.stop()
        self._pacing.interrupt()
        self._answers.interrupt()
        return running

    def _resume(self) -> None:
        """Start the threads again that have stopped; waits for no lock."""
        self._threads.resume()
        self._pacing.go_on()

    def _go_on(self) -> None:
        """Have the threads go on that have stopped for a fork, if they still do not.

        Not for a thread of the agent's, which may get here while the fork waits for it, and the other one has stopped.
        """
        if self._threads.stopped and threading.current_thread() not in self._threads.running():
            self._resume()

    # Exit

    def finish(self, exiting: ProcessExiting) -> bool:
        """Send what is left and wait for the worker's `Delivered`, `exiting.wait_s` seconds at most.

        Where there is no worker, wait until the runs that have begun are recorded.

        Returns:
            True if the worker has delivered everything.
        """
        if not self._started:
            return True
        self._exit.begin()
        self.post_now()
        self.post(exiting)
        self._pacing.hurry()
        return self._exit.wait(exiting.wait_s, for_worker=not self._threads.stopped)

    def do_last(self, work: Callable[[], None], timeout_s: float) -> None:
        """Stop receiving and run `work`, which may block, on the receiving thread; wait `timeout_s` seconds at most."""
        if self._threads.is_started(_RECEIVE) and not self._threads.stopped:
            self._answers.run_last(work, timeout_s)
