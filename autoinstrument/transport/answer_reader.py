"""The receiving thread: receive the worker's answers, over one connection after the other.

Nothing is trusted before the worker's handshake, which comes as soon as it runs; what is sent to it until then
waits in the socket.
"""

from __future__ import annotations

import contextlib
import math
import queue
import select
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Literal

from autoinstrument.guard import guard, own_calls
from autoinstrument.records import Record
from autoinstrument.transport.connection import Connection, ring
from autoinstrument.transport.protocol import RECEIVE_BYTES, Reader, is_ready
from autoinstrument.transport.sockets import OwnSocket, above_streams

_ANSWER_S = 60.0
"""Seconds for a worker's handshake: it starts within a second, on a machine that is not busy."""


class AnswerReader:
    """Receives records from each connection until it ends; what it has received of one survives a stop of the thread.

    Args:
        take: called on the thread with each record.
        lost: called on the thread with each connection that has ended, after its `lost` was set.
        stops: returns True if the thread must stop now, so that the process can fork; it is run again afterwards.
    """

    def __init__(
        self, take: Callable[[Record], None], lost: Callable[[Connection], None], stops: Callable[[], bool]
    ) -> None:
        self._take, self._lost, self._stops = take, lost, stops
        self._next: queue.SimpleQueue[Connection | Literal["look"] | None] = queue.SimpleQueue()
        """Connections, one after the other; None ends the work."""
        self._current: Connection | None = None
        self._socket: OwnSocket | None = None
        self._reader = Reader()
        self._bell: tuple[OwnSocket, ...] = ()
        self._last: Callable[[], None] | None = None
        self._last_done = threading.Event()

    def make_interruptible(self) -> None:
        """Arrange for `interrupt` to work, before the thread is started."""
        with contextlib.suppress(OSError):
            self._bell = tuple(OwnSocket(above_streams(end)) for end in socket.socketpair())

    @property
    def is_interruptible(self) -> bool:
        """True if `interrupt` works; where there are no descriptors left, it does not."""
        return bool(self._bell)

    def follow(self, connection: Connection) -> None:
        """Receive from a connection, after those before it have ended."""
        self._next.put(connection)

    def interrupt(self) -> None:
        """Make the thread call `stops` soon."""
        if self._current is None:
            self._next.put("look")
        if self._bell:
            with contextlib.suppress(OSError):  # the script has closed it
                ring(self._bell[0].get())

    def run(self) -> None:
        """Receive, until `stops` says so or `run_last` has been called; the work of the thread."""
        while self._current is not None or (following := self._next.get()) is not None:
            if self._current is None and following != "look":
                self._current = following
            if (self._current is not None and not self._receive(self._current)) or self._stops():
                return
        if self._last is not None:
            with guard("the end of the process"), own_calls():
                self._last()
        self._last_done.set()

    def run_last(self, work: Callable[[], None], timeout_s: float) -> None:
        """Stop receiving, and run `work`, which may block, on the thread; wait `timeout_s` seconds for it at most."""
        self._last = work
        self._next.put(None)
        if (receiving := self._socket) is not None:
            with contextlib.suppress(OSError):
                receiving.get().shutdown(socket.SHUT_RD)
        self._last_done.wait(timeout_s)

    def close_in_child(self) -> None:
        """Close the sockets after a fork; the thread does not exist here."""
        for sock in (self._socket, *self._bell):
            if sock is not None:
                sock.close()

    def _receive(self, connection: Connection) -> bool:
        """Receive from one connection until it ends; return False if the thread must stop before, and go on later."""
        with guard("receiving from the worker"), own_calls():
            if self._socket is None:
                self._socket, self._reader = OwnSocket(connection.receiving_side()), Reader()
                if self._last is not None:  # `run_last` has come before there was a socket that it could shut down
                    self._socket.get().shutdown(socket.SHUT_RD)
            while data := self._data(self._socket, connection):
                for record in self._reader.feed(data):
                    self._received(record, connection)
            if data is None:
                return False
        if self._socket is not None:
            self._socket.close()
        self._current = self._socket = None
        connection.lost.set()
        self._lost(connection)
        return True

    def _received(self, record: Record, connection: Connection) -> None:
        if connection.is_answered:
            with guard("linking a run"):
                self._take(record)
        elif is_ready(record):
            connection.note_answer()
        else:
            connection.note_silence()
            raise ValueError("the worker is not of this version")

    def _data(self, receiving: OwnSocket, connection: Connection) -> bytes | None:
        """Return bytes as soon as there are some, b"" at the connection's end, None if the thread must stop."""
        try:
            while not connection.is_answered or self._bell:
                left_s = None if connection.is_answered else max(0.0, _ANSWER_S - connection.age_s)
                sockets = [each.get() for each in (receiving, *self._bell[1:])]
                ready = _readable(sockets, left_s)
                if sockets[0] in ready:
                    break
                if not ready:
                    connection.note_silence()
                    return b""
                self._bell[1].get().recv(RECEIVE_BYTES)
                if self._stops():
                    return None
            return receiving.get().recv(RECEIVE_BYTES)
        except OSError:
            return b""


def _readable(sockets: Sequence[socket.socket], wait_s: float | None) -> list[socket.socket]:
    """Return those of the sockets that can be read as soon as there is one; [] after `wait_s` seconds."""
    if sys.platform == "win32" or not hasattr(select, "poll"):  # eventlet takes it away
        return readable_by_select(sockets, wait_s)
    poll = select.poll()  # `select` takes no descriptors over 1,023
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    ready = {number for number, _ in poll.poll(None if wait_s is None else math.ceil(wait_s * 1000))}
    return [sock for sock in sockets if sock.fileno() in ready]


def readable_by_select(sockets: Sequence[socket.socket], wait_s: float | None) -> list[socket.socket]:
    """As `_readable`, on a system without `poll`."""
    return select.select(sockets, [], [], wait_s)[0]
