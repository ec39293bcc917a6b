"""Send to a training process without waiting for it: one that is stopped (SIGSTOP, a debugger) reads nothing."""

from __future__ import annotations

import contextlib
import socket
import threading

from autoinstrument.records import Record
from autoinstrument.transport.connection import send_without_waiting
from autoinstrument.transport.protocol import encode

_MOST = 4 * 2**20
"""Bytes that wait for a process at most: 20,000 messages. Of what is lost then, the worker writes the run's link tags
itself when the process is gone."""
_CHUNK = 2**16


class Outbox:
    """Sends records over a connection, in their order and from any thread; what the socket does not take waits.

    Args:
        connection: a blocking socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._changing = threading.Lock()
        self._left = bytearray()
        """Not sent, or being sent by the thread."""
        self._has_thread = False

    def send(self, record: Record) -> None:
        """Send a record, now or as soon as the process reads; nothing happens if it is gone."""
        frame = encode([record])
        with self._changing, contextlib.suppress(OSError):
            if not self._left:
                frame = frame[self._send_at_once(frame) :]
            if len(self._left) <= _MOST:
                self._left += frame
            if self._left and not self._has_thread:
                with contextlib.suppress(RuntimeError):  # the interpreter ends; the next record tries again
                    threading.Thread(target=self._send_rest, name="autoinstrument-outbox", daemon=True).start()
                    self._has_thread = True

    def _send_at_once(self, frame: bytes) -> int:
        try:
            return send_without_waiting(self._connection, frame)
        except BlockingIOError:
            return 0

    def _send_rest(self) -> None:
        while True:
            with self._changing:
                chunk = bytes(self._left[:_CHUNK])
                if not chunk:
                    self._has_thread = False
                    return
            try:
                self._connection.sendall(chunk)
            except OSError:  # the process is gone
                chunk = b""
            with self._changing:
                del self._left[: len(chunk) or None]
