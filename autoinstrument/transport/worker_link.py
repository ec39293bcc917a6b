"""Connect the training process to its worker, and again whenever the connection is lost."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from autoinstrument.guard import is_of_handler
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Record
from autoinstrument.transport.connection import Connection

_FAILURES = 2
"""Attempts in a row without a worker that has answered, after which none is expected."""
_EARLY_S, _WAIT_S = 0.002, 10.0
"""Seconds that an attempt may wait for another process that is starting the worker: of the training, and of a thread of
the agent's. The worker's socket listens a moment after the other process has the lock. Where that takes longer, the
sending thread goes on, and what is recorded waits in the buffer."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LONG_S = 60.0
"""A worker that was connected for so long is replaced at once, if it dies."""


class Attempt(NamedTuple):
    """An attempt to connect to a worker."""

    number: int = 0
    """How many connections were lost, or could not be made, before."""
    wait_s: float = _WAIT_S
    """Seconds to wait at most while another process starts the worker."""
    is_alone: bool = False
    """The worker that others use does not answer, or cannot be started by the process that is about to."""


class WorkerLink:
    """Connects to a worker and introduces the process to it.

    Args:
        connect: called with the attempt.
        introduce: called after it with the attempt's number; returns the records that the worker must get first.

    Attributes:
        connection: over which any thread may `send_now`; None before a first connection.
    """

    def __init__(self, connect: Callable[[Attempt], socket.socket], introduce: Callable[[int], list[Record]]) -> None:
        self.connection: Connection | None = None
        self._connect, self._introduce = connect, introduce
        self._next = Attempt()
        self._failures = self._short_lives = 0
        self._may_retry_at = 0.0
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """True while the worker knows the process, and the connection was not found lost."""
        return self._is_open

    @property
    def may_open(self) -> bool:
        """False once several workers in a row could not be started, or did not answer."""
        return self._failures < _FAILURES

    @property
    def has_answered(self) -> bool:
        """True after the handshake of the worker at the other end."""
        return self.connection is not None and self.connection.is_answered

    @property
    def pause_s(self) -> float:
        """Seconds before `open` should be called again, 0 for none: workers that die soon are replaced ever slower."""
        return max(0.0, self._may_retry_at - time.monotonic())

    def connect_early(self) -> None:
        """Connect ahead of `open`, from any thread; after a failure here, `open` tries again and reports its own."""
        if self.connection is None:
            try:
                self.connection = Connection(self._connect(self._next._replace(wait_s=_EARLY_S)))
            except OSError as error:
                if is_of_handler(error):  # `TimeoutError` as a rule
                    raise

    def open(self) -> Connection:
        """Connect and introduce the process, as far as that was not done; for the sending thread.

        Raises:
            OSError: there is no worker, or it has died.
            Exception: whatever `connect` and `introduce` raise.
        """
        if self.connection is None:
            try:
                self.connection = Connection(self._connect(self._next))
            except TimeoutError:
                self._next = self._next._replace(is_alone=True)
                raise
        if not self._is_open:
            self.connection.wait_for_room()
            self.connection.send(self._introduce(self._next.number))
            self._is_open = True
        return self.connection

    def drop(self) -> None:
        """Give up the connection, or the attempt to make one."""
        connection, self.connection, self._is_open = self.connection, None, False
        lived_s = 0.0
        self._failures += 1
        if connection is not None:
            connection.close()
            if connection.is_answered:
                self._failures, lived_s = 0, connection.age_s
        number, is_silent = self._next.number + 1, connection is not None and connection.is_silent
        self._next = Attempt(number, is_alone=self._next.is_alone or is_silent)
        self._short_lives = self._short_lives + 1 if lived_s < _LONG_S else 0
        self._may_retry_at = time.monotonic() + _pause_s(self._short_lives)

    def close_in_child(self) -> None:
        """Close the connection after a fork: it must end when the parent does, and not when its last child does."""
        if self.connection is not None:
            self.connection.close_in_child()


def _pause_s(short_lives: int) -> float:
    """Return the pause after so many workers in a row that were lost soon: the first is replaced at once."""
    return 0.0 if short_lives < 2 else min(_FIRST_PAUSE_S * 2.0 ** min(short_lives - 2, 10), _LONGEST_PAUSE_S)
