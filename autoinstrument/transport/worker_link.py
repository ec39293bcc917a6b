"""The way from the training process to its worker: one connection, and one more, to another worker, if it is lost."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from autoinstrument.records import Record
from autoinstrument.transport.connection import Connection

_CONNECTIONS = 2


class WorkerLink:
    """Connects to a worker and introduces the process to it.

    Args:
        connect: called with the number of the attempt: 0, and 1 after the worker has died.
        introduce: called after it with the same number; returns the records that the worker must get first.

    Attributes:
        connection: over which any thread may `send_now`; None before a first connection.
    """

    def __init__(self, connect: Callable[[int], socket.socket], introduce: Callable[[int], list[Record]]) -> None:
        self.connection: Connection | None = None
        self._connect, self._introduce = connect, introduce
        self._attempt = 0
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """True while the worker knows the process, and the connection was not found lost."""
        return self._is_open

    @property
    def may_open(self) -> bool:
        """True while there is a connection, or a worker that was not tried yet."""
        return self._attempt < _CONNECTIONS

    def connect_early(self) -> None:
        """Connect ahead of `open`, from any thread; where that fails, `open` will say so, should it fare no better."""
        if self.connection is None:
            with contextlib.suppress(OSError):
                self.connection = Connection(self._connect(0))

    def open(self) -> Connection:
        """Connect and introduce the process, as far as that was not done; for the sending thread.

        Raises:
            OSError: there is no worker, or it has died.
            Exception: whatever `connect` and `introduce` raise.
        """
        if self.connection is None:
            self.connection = Connection(self._connect(self._attempt))
        if not self._is_open:
            self.connection.wait_for_room()
            self.connection.send(self._introduce(self._attempt))
            self._is_open = True
        return self.connection

    def drop(self) -> None:
        """Give up the connection, or the attempt to make one."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self._is_open = False
        self._attempt += 1

    def close_in_child(self) -> None:
        """Close the connection after a fork: it must end when the parent does, and not when its last child does."""
        if self.connection is not None:
            self.connection.close_in_child()
