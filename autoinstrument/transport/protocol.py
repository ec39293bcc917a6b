"""Messages on the socket between training process and worker: a length in four bytes, then a JSON list of records.

JSON and not pickle: the bytes are data, whoever sent them.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from autoinstrument.guard import guard
from autoinstrument.records import Record, WorkerReady, from_json, parse, to_json
from autoinstrument.transport.limits import FRAME_BYTES

_PROGRAM, _VERSION = "autoinstrument worker", 1
_LENGTH = struct.Struct("!I")
RECEIVE_BYTES = 1 << 18
"""Bytes that one call receives at most."""


def ready() -> WorkerReady:
    """Return the first record of a worker over each connection."""
    return WorkerReady(_PROGRAM, _VERSION, os.getpid())


def is_ready(record: Record) -> bool:
    """Return True if a record is that of a worker that speaks this version of the protocol."""
    return isinstance(record, WorkerReady) and (record.program, record.protocol) == (_PROGRAM, _VERSION)


def encode(records: Iterable[Record]) -> bytes:
    """Return one frame that holds the records.

    Raises:
        TypeError: a record holds something that is not JSON.
        ValueError: they do not fit into one frame.
    """
    body = json.dumps([to_json(record) for record in records], separators=(",", ":")).encode()
    if len(body) > FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes is over {FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


def encode_good(records: list[Record]) -> bytes:
    """Return the records as one frame; leave out and log each record that cannot be encoded."""
    try:
        return encode(records)
    except (TypeError, ValueError):
        good: list[Record] = []
        for record in records:
            with guard(f"sending {type(record).__name__}"):
                encode([record])
                good.append(record)
        return encode(good)


class Reader:
    """Put frames together from the bytes of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take the next bytes, and yield the records of every frame that is complete.

        Raises:
            ValueError: the bytes are not of this protocol (length over `FRAME_BYTES`, no JSON, unknown record).
        """
        self._bytes += data
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes is over {FRAME_BYTES}")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                return
            values = parse(bytes(self._bytes[_LENGTH.size : end]))
            del self._bytes[:end]
            if not isinstance(values, list):
                raise ValueError("a frame that is not a list of records")  # noqa: TRY004  (data, not a caller's mistake)
            for value in values:
                yield from_json(value)


def read_all(connection: socket.socket) -> Iterator[Record]:
    """Yield records until the other side closes; a broken connection counts as closed.

    Raises:
        ValueError: the bytes are not of this protocol.
    """
    reader = Reader()
    while True:
        try:
            data = connection.recv(RECEIVE_BYTES)
        except OSError:
            return
        if not data:
            return
        yield from reader.feed(data)
