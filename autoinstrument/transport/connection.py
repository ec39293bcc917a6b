"""One connection to the worker, over which any thread of the training process may send."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
import time

from autoinstrument.records import Record
from autoinstrument.transport.protocol import encode, encode_good
from autoinstrument.transport.sockets import NO_SIGNAL, OwnSocket, above_streams

_SMALL = 4096
"""Bytes that a stream socket takes whole or not at all."""


class Connection:
    """The sending side of a socket.

    Attributes:
        lost: set by the receiving side once the worker has closed its end.
        is_answered: the worker's handshake has come.
        is_silent: it did not come in time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.lost = threading.Event()
        self.is_answered = self.is_silent = False
        self._since = time.monotonic()
        self._socket = OwnSocket(sock)
        self._sending = threading.Lock()

    @property
    def age_s(self) -> float:
        """Seconds since the connection was made."""
        return time.monotonic() - self._since

    def note_answer(self) -> None:
        """Note that the worker's handshake has come; for the receiving side."""
        self.is_answered = True

    def note_silence(self) -> None:
        """Note that it did not come in time, or is that of another version; for the receiving side."""
        self.is_silent = True

    def wait_for_room(self) -> None:
        """Let `send` wait without limit: a worker that hangs blocks the sending thread, and no other.

        Raises:
            OSError: the connection is closed.
        """
        self._socket.get().settimeout(None)

    def send(self, records: list[Record]) -> None:
        """Send records as one message, and wait until the socket has taken it; for the sending thread.

        Raises:
            OSError: the connection is lost.
        """
        with self._sending:
            self._socket.get().sendall(encode_good(records), NO_SIGNAL)

    def send_now(self, record: Record) -> bool:
        """Send a small record without waiting, from any thread.

        Returns:
            False if it is not sent: it is too long, the socket is full or lost, or another thread is sending.
        """
        frame = encode([record])
        if len(frame) > _SMALL or not self._sending.acquire(blocking=False):
            return False
        try:
            return send_without_waiting(self._socket.get(), frame) == len(frame)
        except OSError:
            return False
        finally:
            self._sending.release()

    def receiving_side(self) -> socket.socket:
        """Return a second socket of the connection, to receive from.

        Raises:
            OSError: there are no descriptors left, or the connection is closed.
        """
        receiving = above_streams(self._socket.get().dup())
        receiving.settimeout(None)
        return receiving

    def close(self) -> None:
        """Close this side, and wait until no thread sends."""
        with self._sending:
            self._socket.close()

    def close_in_child(self) -> None:
        """Close this side after a fork, where the lock may be held by a thread that does not exist here."""
        self._socket.close()


def send_without_waiting(sock: socket.socket, frame: bytes) -> int:
    """Send what the socket takes at once, and return how many bytes these are.

    Raises:
        BlockingIOError: it is full.
        OSError: it is closed.
    """
    if sys.platform == "win32":
        return send_if_writable(sock, frame)
    return sock.send(frame, socket.MSG_DONTWAIT | NO_SIGNAL)


def send_if_writable(sock: socket.socket, frame: bytes) -> int:
    """Send what the socket takes at once, and return how many bytes these are; for systems without `MSG_DONTWAIT`."""
    _, writable, _ = select.select([], [sock], [], 0)
    return sock.send(frame, NO_SIGNAL) if writable else 0


def ring(bell: socket.socket) -> None:
    """Send one byte without waiting, so that a thread that receives from the other end wakes up."""
    with contextlib.suppress(OSError):  # full: it was rung often enough
        send_without_waiting(bell, b".")
