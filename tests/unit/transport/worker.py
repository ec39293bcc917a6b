"""The other end of the socket, in the test itself."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

from autoinstrument.records import MetricsLogged, ProcessExiting, Record
from autoinstrument.transport.protocol import Reader, encode, ready

PATIENCE_S = 60.0
"""Seconds that a test waits for an event that must happen; a machine may be busy."""
EXITING = ProcessExiting("", False, PATIENCE_S)


def point(step: int, run_id: str = "run") -> MetricsLogged:
    """Return a record that is equal to itself after it was received: JSON has no tuples."""
    points: Any = [["loss", 0.5, 0, step]]
    return MetricsLogged(run_id, points)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.001)


class Worker:
    """A worker as the training process sees it: a socket that receives records and answers.

    Attributes:
        there: the end of the socket that the training process is given.
        received: the records so far.
    """

    def __init__(self, *, is_ready: bool = True) -> None:
        self._socket, self.there = socket.socketpair()
        self._socket.settimeout(PATIENCE_S)
        if is_ready:
            self.answer(ready())
        self._reader = Reader()
        self.received: list[Record] = []

    def receive(self, until: Callable[[Record], bool]) -> list[Record]:
        """Return the records that arrive, up to the first one that `until` is true of."""
        begin = len(self.received)
        while not any(map(until, self.received[begin:])):
            data = self._socket.recv(1 << 18)
            assert data, "the training process has closed the connection"
            self.received += self._reader.feed(data)
        return self.received[begin:]

    def is_closed(self) -> bool:
        """Return True if the training process has closed its end, once everything that it sent is received."""
        with contextlib.suppress(ConnectionResetError):  # it has not read all that was answered
            while data := self._socket.recv(1 << 18):
                self.received += self._reader.feed(data)
        return True

    def answer(self, record: Record) -> None:
        self._socket.sendall(encode([record]))

    def die(self) -> None:
        self._socket.close()
