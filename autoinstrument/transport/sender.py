"""The training process's side of the socket: take records from any thread at once, send them from one of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Literal

from autoinstrument.bootstrap.explain_log import note
from autoinstrument.guard import guard, ourselves
from autoinstrument.records import (
    ConsoleWritten,
    Delivered,
    EventsDropped,
    ProcessExiting,
    Record,
)
from autoinstrument.transport import forks
from autoinstrument.transport.batches import append, frame
from autoinstrument.transport.deferred_reads import DeferredReads, Read
from autoinstrument.transport.posted import DeferredFile, DeferredStart, Item
from autoinstrument.transport.protocol import Reader, encode
from autoinstrument.transport.record_size import DROPPABLE, items, weight
from autoinstrument.transport.sockets import above_streams

MAX_ITEMS, MAX_BYTES = 100_000, 32 * 2**20
"""Records that wait to be sent, and what they weigh; what comes on top is counted, and read from MLflow's store."""
MAX_CONSOLE_BYTES = 16 * 2**20
EARLY_CONSOLE_BYTES = 2**20
MAX_CONTENT_BYTES = 16 * 2**20
"""Contents of artifacts that wait to be sent; what comes on top is read from MLflow's store by the worker."""
_BATCH, _BATCH_BYTES = 100, 2**17
"""Records in one frame. `json.dumps` keeps all other threads waiting: half a second for 500,000 points."""
_GATHER_S, _BREATH_S = 0.05, 0.0005
"""Pauses before records are sent, and between two frames: a thread that blocks for microseconds alone takes the
interpreter's lock back before another one that waits for it has woken up."""
_CONNECTIONS = 2
_SMALL = 4096


class Sender:
    """A bounded buffer, a thread that sends it, and a thread that hears the worker's answers.

    `connect` is called with the number of the attempt: 0, and 1 after the worker has died; `introduce` after it, on the
    sending thread, for what is to be said first. `heard` is called on the hearing thread with each answer.
    Where there is no worker to send to, each `DeferredStart` is made all the same, and then `left` is called, on the
    sending thread.

    `post` costs the caller an append. Nothing runs and nothing is connected before `start`. After a fork the child has
    an empty buffer and connects for itself as soon as it posts something other than console text.

    Where `direct` is set, `post` puts small records on the wire itself: pools and launchers kill the processes that
    they started without a word, and what such a one has logged is not to be lost with its buffer.
    """

    direct = False

    def __init__(
        self,
        connect: Callable[[int], socket.socket],
        introduce: Callable[[int], list[Record]],
        heard: Callable[[Record], None],
        left: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._introduce = introduce
        self._heard = heard
        self._left = left
        self._started = False
        self._pid = os.getpid()
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
        if forks.WANTED:
            forks.without_threads(self._stop_threads, self._resume)

    def _reset(self) -> None:
        self._items: deque[Item] = deque()
        self._reads = DeferredReads()
        self._console_bytes = self._content_bytes = 0
        self._dropped: dict[str, int] = {}
        self._weight_in = self._weight_out = 0
        """What was posted by the users' threads, and what the sending thread took: one writer thread or nearly so."""
        self._wake = threading.Event()
        self._awake = False
        self._hurry = threading.Event()
        self._no_pause = threading.Event()
        """Set where nobody waits for more to be sent: at the end, and before a fork."""
        self._finished = threading.Event()
        self._delivered = False
        self._broken = False
        self.failure = ""
        """Why there is no worker, "" where there is one."""
        self._idle = threading.Event()
        """Without a worker: all runs that have begun are recorded, as far as they can be."""
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._heard_on: socket.socket | None = None
        self._reader = Reader()
        self._to_hear: SimpleQueue[tuple[socket.socket, threading.Event] | Literal["look"] | None] = SimpleQueue()
        """Connections, one after the other, each with what is set when it is lost; None ends the hearing."""
        self._connected: tuple[socket.socket, threading.Event] | None = None
        """The connection that is sent over."""
        self._listening: tuple[socket.socket, threading.Event] | None = None
        """The connection that is heard."""
        self._attempt = 0
        self._threads: dict[str, threading.Thread] = {}
        self._parking = False
        """The threads are to stop at the next good moment: the process is about to fork."""
        self._stopped: set[str] = set()
        """Threads that have stopped for that, and are not running again yet."""
        self._bell: tuple[socket.socket, ...] = ()
        """A pair by which the hearing thread is woken, where that may become necessary."""
        self._last: Callable[[], None] | None = None
        self._last_done = threading.Event()
        self._hears = self._sends = False
        self._sending = threading.Lock()
        self._at_work = threading.Lock()
        """Held by the sending thread from taking items until they are on the wire."""

    def _forked(self) -> None:
        # The parent's connection is to end when the parent does, and not when its last child does.
        for connection in (self._connection, self._heard_on, *self._bell):
            if connection is not None:
                connection.close()
        self._started, self.direct = False, True
        self._reset()

    @property
    def broken(self) -> bool:
        """True once there is no worker to send to: what is posted from then on is left to `sync`."""
        return self._broken

    def start(self) -> None:
        """Start the two threads, once a process; they are daemons and hold up no exit.

        Both now: from Python 3.12 on no thread can be started any more when at-exit handlers run. A first run that
        begins there has been announced, and the worker reads it from MLflow.
        """
        with self._lock:
            if self._started:
                return
            self._started = True
            self._pid = os.getpid()
            try:
                if forks.WANTED and hasattr(select, "poll"):
                    with contextlib.suppress(OSError):
                        self._bell = tuple(map(above_streams, socket.socketpair()))
                self._run("hear", self._hear_all)
                self._hears = True
                self._run("send", self._send_all)
                self._sends = True
            except RuntimeError as error:
                # What is announced to a worker, it reads from MLflow.
                self._give_up(f"no thread can be started ({error})" if self._connection is None else "")
                self._idle.set()

    def _run(self, name: str, work: Callable[[], None]) -> None:
        self._threads[name] = threading.Thread(target=work, name=f"autoinstrument-{name}", daemon=True)
        self._threads[name].start()

    def _rouse(self) -> None:
        """Have the sending thread look what there is to be sent."""
        if self._stopped:
            self._resume()
        if not self._awake:
            self._awake = True
            self._wake.set()

    def _stop_threads(self) -> list[threading.Thread]:
        """Have the threads stop where they can go on later: see `forks`. Return those that will."""
        running = [thread for name, thread in self._threads.items() if name not in self._stopped]
        if not self._bell or self._hurry.is_set() or threading.current_thread() in running:
            return []
        self._parking = True
        self._wake.set()
        self._no_pause.set()
        if self._listening is None:
            self._to_hear.put("look")
        with contextlib.suppress(OSError):  # full: it has been rung often enough
            self._bell[0].send(b".", socket.MSG_DONTWAIT)
        return running

    def _stops(self, name: str) -> bool:
        """Tell whether a thread is to stop now."""
        if self._parking:
            self._stopped.add(name)
        return self._parking

    def _resume(self) -> None:
        """Have the threads that have stopped go on; it waits for no lock, as whoever holds it may wait for us."""
        self._parking = False
        if not self._hurry.is_set():
            self._no_pause.clear()
        if not self._lock.acquire(blocking=False):
            return  # what is posted next comes here again
        try:
            for name, work in (("hear", self._hear_all), ("send", self._send_all)):
                if name in self._stopped:
                    self._run(name, work)
                    self._stopped.discard(name)
        except RuntimeError:  # the interpreter is at its end; the worker will see the connection close
            pass
        finally:
            self._lock.release()

    def announce(self, record: Record) -> None:
        """Put a small record on the wire from the calling thread, so that it outlives this process from now on.

        It takes the time that starting a process takes the first time (about a millisecond) and some microseconds
        later. Where the wire is busy it is left out: the sending thread is at work then.
        """
        self._connect_early()
        self._put(encode([record]))

    def _connect_early(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # the sending thread will say so, should it fare no better
            if not self._started and self._connection is None:
                self._connection = self._connect(0)

    def reply(self, record: Record) -> None:
        """Send a small record from the hearing thread: at once, since what was just heard may end the process."""
        if not self._put(encode([record])):
            self.post(record)

    def _put(self, frame: bytes) -> bool:
        """Put a frame on the wire without waiting; tell whether it went. A small one goes whole or not at all."""
        if len(frame) > _SMALL or not self._sending.acquire(blocking=False):
            return False
        try:
            return self._connection is not None and self._connection.send(frame, socket.MSG_DONTWAIT) == len(frame)
        except OSError:  # the wire is full, or the worker is gone
            return False
        finally:
            self._sending.release()

    def _put_direct(self, item: Item) -> bool:
        """Send a record from the calling thread, where nothing that was posted before is still on its way."""
        if callable(item) or self._items or not self._at_work.acquire(blocking=False):
            return False
        try:
            if self._items:
                return False
            self._connect_early()
            return self._put(encode([item]))
        finally:
            self._at_work.release()

    def has_room(self, size: int) -> bool:
        """Tell whether content of that many bytes may be posted; nothing may wait where records are sent at once."""
        return not self.direct and self._content_bytes + size <= MAX_CONTENT_BYTES

    def post(self, item: Item) -> None:
        """Take one item; what does not fit is dropped and counted, never waited for."""
        if isinstance(item, ConsoleWritten):
            if self._pid != os.getpid() or self._broken:
                return  # console text alone is no reason to connect from a forked child
            if self._console_bytes + len(item.text) > MAX_CONSOLE_BYTES:
                return
            self._console_bytes += len(item.text)
            while not self._started and self._console_bytes > EARLY_CONSOLE_BYTES and self._items:
                oldest = self._items.popleft()  # no run has begun, and maybe none ever will
                self._console_bytes -= len(oldest.text) if isinstance(oldest, ConsoleWritten) else 0
        elif self._broken:
            if not (isinstance(item, DeferredStart) and self._sends):
                return
            self._idle.clear()
        elif isinstance(item, DROPPABLE) and self._is_full():
            self._dropped[item.run_id] = self._dropped.get(item.run_id, 0) + items(item)
            return
        elif isinstance(item, DeferredFile):
            self._content_bytes += len(item.content)
        elif self.direct:
            with guard("sending at once"):
                if self._put_direct(item):
                    return
        if isinstance(item, DROPPABLE):
            self._weight_in += weight(item)
        self._items.append(item)
        if self._started:
            self._rouse()
        elif not isinstance(item, ConsoleWritten):
            with guard("starting the sender"):
                self.start()

    def _is_full(self) -> bool:
        """Tell whether there is no room; what several threads have miscounted is forgotten whenever all was sent."""
        if not self._items:
            self._weight_in = self._weight_out
        return len(self._items) >= MAX_ITEMS or self._weight_in - self._weight_out >= MAX_BYTES

    def post_soon(self, run_id: str, kind: str, read: Read, wait_s: float = 0.0) -> None:
        """Take what reads one kind of a run's data from the store; it is called soon, once for many changes.

        Not before `wait_s` seconds, but before the run's end.
        """
        if self._broken:
            return
        self._reads.note(run_id, kind, read, wait_s)
        if self._started:
            self._rouse()
        else:
            with guard("starting the sender"):
                self.start()

    def post_now(self, run_id: str = "") -> None:
        """Post what `post_soon` holds of a run, or of all runs: what is posted next is to come behind it."""
        self.post(functools.partial(self._read_now, run_id))

    def _read_now(self, run_id: str) -> None:
        """Put in front what has been noted by then, also by work of the sending thread's that was posted before."""
        self._items.extendleft(reversed(self._reads.take(run_id=run_id, now=True)))

    def finish(self, exiting: ProcessExiting) -> bool:
        """Send what is left and wait for the worker's `Delivered`, `exiting.wait_s` seconds at most.

        Where there is no worker, only until the runs that have begun are recorded.

        Returns:
            True if the worker has delivered everything.
        """
        if not self._started:
            return True
        end = time.monotonic() + exiting.wait_s
        self._finished.clear()
        self._delivered = False
        self.post_now()
        self.post(exiting)
        self._hurry.set()
        self._no_pause.set()
        self._wake.set()
        if not self._broken and not self._stopped:
            self._finished.wait(exiting.wait_s)
        if self._broken:
            self._idle.wait(max(0.0, end - time.monotonic()))
        return self._delivered

    def do_last(self, work: Callable[[], None], wait_s: float) -> None:
        """Have the hearing thread do something that may take for ever, where it is free, instead of hearing more.

        Waits for it, `wait_s` seconds at most.
        """
        if not self._hears or self._stopped:
            return
        self._last = work
        self._to_hear.put(None)
        if (heard := self._heard_on) is not None:
            with contextlib.suppress(OSError):
                heard.shutdown(socket.SHUT_RD)
        self._last_done.wait(wait_s)

    def _send_all(self) -> None:
        """Connect and send; if the worker dies, do so once more, with a new one."""
        failure: str | None = ""
        while not self._broken and self._attempt < _CONNECTIONS:
            failure = self._send_over(self._attempt)
            if failure is None:
                return
            self._connected = None
            self._attempt += 1
            if self._hurry.is_set():
                break
        if not self._broken:
            self._give_up(failure or "")
        with ourselves():
            self._record_beginnings()

    def _send_over(self, attempt: int) -> str | None:
        """Send over one connection until it is lost; return why it is, or why there was none.

        Returns:
            None where the thread is to stop; called again, it goes on with the same connection.
        """
        failure = "no worker can be started"
        try:
            with ourselves():
                if self._connected is None:
                    connection = self._connection if attempt == 0 and self._connection else self._connect(attempt)
                    self._connection = connection
                    connection.settimeout(None)  # a worker that hangs keeps this thread waiting, and nobody else
                    self._write(connection, self._introduce(attempt))
                    self._connected = connection, threading.Event()
                    self._to_hear.put(self._connected)
                connection, lost = self._connected
                failure = "the worker has died"
                while not lost.is_set():
                    self._send(connection)
                    if self._stops("send"):
                        return None
                    self._wake.wait(self._reads.wait_s())
                    self._no_pause.wait(_GATHER_S)
                    self._awake = False
                    self._wake.clear()
        except Exception as error:
            failure += f" ({type(error).__name__}: {error})"
            note("error", failure)
        return failure

    def _give_up(self, failure: str) -> None:
        self.failure, self._broken = failure, True
        self._finished.set()

    def _record_beginnings(self) -> None:
        """Do without a worker what can be done: runs that have begun, and those that begin, are recorded and said."""
        while True:
            while self._items:
                item = self._items.popleft()
                if isinstance(item, DeferredStart):
                    with guard("describing a run"):
                        item()
            if not self._hurry.is_set():  # else the end of the process says it
                with guard("leaving runs to `sync`"):
                    self._left()
            self._idle.set()
            if self._stops("send"):
                return
            self._wake.wait()
            self._awake = False
            self._wake.clear()

    def _send(self, connection: socket.socket) -> None:
        self._items.extend(self._reads.take())
        while self._items or self._dropped:
            with self._at_work:
                self._send_batch(connection)
            if self._items:
                self._hurry.wait(_BREATH_S)

    def _send_batch(self, connection: socket.socket) -> None:
        batch: list[Record] = []
        size = 0
        while self._items and len(batch) < _BATCH and size < _BATCH_BYTES:
            item = self._items.popleft()
            record: Record | None = None
            if isinstance(item, DeferredFile):
                self._content_bytes -= len(item.content)
            if callable(item):
                with guard("describing a run"):
                    record = item()
            else:
                record = item
            if isinstance(item, DROPPABLE):
                self._weight_out += weight(item)
            if isinstance(record, ConsoleWritten):
                self._console_bytes -= len(record.text)
            if record is not None:
                size += weight(record)
                append(batch, record)
        while self._dropped:
            batch.append(EventsDropped(*self._dropped.popitem()))
        if batch:
            try:
                self._write(connection, batch)
            except OSError:
                self._items.extendleft(reversed(batch))  # for the next worker
                raise

    def _write(self, connection: socket.socket, records: list[Record]) -> None:
        with self._sending:
            connection.sendall(frame(records))

    def _hear_all(self) -> None:
        """Hear what the worker says, over one connection after the other; at last do what `do_last` asks for."""
        while self._listening is not None or (heard := self._to_hear.get()) is not None:
            if self._listening is None and heard != "look":
                self._listening = heard
            if (self._listening is not None and not self._listen(*self._listening)) or self._stops("hear"):
                return
        if self._last is not None:
            with guard("the end of the process"), ourselves():
                self._last()
        self._last_done.set()

    def _listen(self, connection: socket.socket, lost: threading.Event) -> bool:
        """Hear one connection to its end; False where the thread is to stop before, and go on later."""
        with guard("hearing the worker"), ourselves():
            if self._heard_on is None:
                self._heard_on, self._reader = above_streams(connection.dup()), Reader()
                self._heard_on.settimeout(None)
            while data := self._received(self._heard_on):
                for record in self._reader.feed(data):
                    if isinstance(record, Delivered):
                        self._delivered = True
                        self._finished.set()
                    else:
                        with guard("linking a run"):
                            self._heard(record)
            if data is None:
                return False
        if self._heard_on is not None:
            self._heard_on.close()
        self._listening = self._heard_on = None
        lost.set()
        self._wake.set()
        if self._hurry.is_set():
            self._finished.set()
        return True

    def _received(self, heard: socket.socket) -> bytes | None:
        """Return bytes as soon as there are some, b"" at the connection's end, None where the thread is to stop."""
        try:
            if self._bell:
                poll = select.poll()
                poll.register(heard, select.POLLIN)
                poll.register(self._bell[1], select.POLLIN)
                while not any(number == heard.fileno() for number, _ in poll.poll()):
                    self._bell[1].recv(_SMALL)
                    if self._stops("hear"):
                        return None
            return heard.recv(1 << 18)
        except OSError:
            return b""
