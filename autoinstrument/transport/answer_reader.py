"""The receiving thread: take in what the worker answers, over one connection after the other."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Literal

from autoinstrument.guard import guard, ourselves
from autoinstrument.records import Record
from autoinstrument.transport.connection import Connection, ring
from autoinstrument.transport.protocol import RECEIVE_BYTES, Reader
from autoinstrument.transport.sockets import above_streams


class AnswerReader:
    """Receives records from each connection until it ends; what it has received of one survives a stop of the thread.

    Args:
        take: called on the thread with each record.
        lost: called on the thread when a connection has ended, after `Connection.lost` was set.
        stops: tells whether the thread must stop now, so that the process can fork; it is run again afterwards.
    """

    def __init__(self, take: Callable[[Record], None], lost: Callable[[], None], stops: Callable[[], bool]) -> None:
        self._take, self._lost, self._stops = take, lost, stops
        self._next: SimpleQueue[Connection | Literal["look"] | None] = SimpleQueue()
        """Connections, one after the other; None ends the work."""
        self._current: Connection | None = None
        self._socket: socket.socket | None = None
        self._reader = Reader()
        self._bell: tuple[socket.socket, ...] = ()
        self._last: Callable[[], None] | None = None
        self._last_done = threading.Event()

    def make_interruptible(self) -> None:
        """Arrange for `interrupt` to work, before the thread is started."""
        with contextlib.suppress(OSError):
            self._bell = tuple(map(above_streams, socket.socketpair()))

    @property
    def is_interruptible(self) -> bool:
        """True if `interrupt` works; where there are no descriptors left, it does not."""
        return bool(self._bell)

    def follow(self, connection: Connection) -> None:
        """Receive from a connection, after those before it have ended."""
        self._next.put(connection)

    def interrupt(self) -> None:
        """Have the thread ask `stops` soon."""
        if self._current is None:
            self._next.put("look")
        if self._bell:
            ring(self._bell[0])

    def run(self) -> None:
        """Receive, until `stops` says so or `run_last` has been called; the work of the thread."""
        while self._current is not None or (following := self._next.get()) is not None:
            if self._current is None and following != "look":
                self._current = following
            if (self._current is not None and not self._receive(self._current)) or self._stops():
                return
        if self._last is not None:
            with guard("the end of the process"), ourselves():
                self._last()
        self._last_done.set()

    def run_last(self, work: Callable[[], None], timeout_s: float) -> None:
        """Stop receiving, and run `work`, which may block, on the thread; wait `timeout_s` seconds for it at most."""
        self._last = work
        self._next.put(None)
        if (receiving := self._socket) is not None:
            with contextlib.suppress(OSError):
                receiving.shutdown(socket.SHUT_RD)
        self._last_done.wait(timeout_s)

    def close_in_child(self) -> None:
        """Close the sockets after a fork; the thread does not exist here."""
        for sock in (self._socket, *self._bell):
            if sock is not None:
                sock.close()

    def _receive(self, connection: Connection) -> bool:
        """Receive from one connection until it ends; return False if the thread must stop before, and go on later."""
        with guard("receiving from the worker"), ourselves():
            if self._socket is None:
                self._socket, self._reader = connection.receiving_side(), Reader()
                if self._last is not None:  # `run_last` has come before there was a socket that it could shut down
                    self._socket.shutdown(socket.SHUT_RD)
            while data := self._data(self._socket):
                for record in self._reader.feed(data):
                    with guard("linking a run"):
                        self._take(record)
            if data is None:
                return False
        if self._socket is not None:
            self._socket.close()
        self._current = self._socket = None
        connection.lost.set()
        self._lost()
        return True

    def _data(self, receiving: socket.socket) -> bytes | None:
        """Return bytes as soon as there are some, b"" at the connection's end, None if the thread must stop."""
        try:
            while self._bell and not _is_readable(receiving, self._bell[1]):
                self._bell[1].recv(RECEIVE_BYTES)
                if self._stops():
                    return None
            return receiving.recv(RECEIVE_BYTES)
        except OSError:
            return b""


def _is_readable(sock: socket.socket, bell: socket.socket) -> bool:
    """Wait until one of two sockets can be read; return True if the first one can be."""
    if sys.platform == "win32":
        return is_readable_by_select(sock, bell)
    poll = select.poll()  # `select` takes no descriptors over 1,023
    poll.register(sock, select.POLLIN)
    poll.register(bell, select.POLLIN)
    return any(number == sock.fileno() for number, _ in poll.poll())


def is_readable_by_select(sock: socket.socket, bell: socket.socket) -> bool:
    """Do so on a system without `poll`."""
    return sock in select.select([sock, bell], [], [])[0]
