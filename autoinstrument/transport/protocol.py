"""Frames on the socket between training process and worker: a length in four bytes, then a JSON list of records.

JSON and not pickle: what arrives is data, whoever sent it.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable, Iterator

from autoinstrument.records import Record, from_json, parse, to_json

_LENGTH = struct.Struct("!I")
MAX_FRAME = 64 * 2**20
"""Bytes in one frame, at most; a longer one is taken for garbage and ends the connection."""


def encode(records: Iterable[Record]) -> bytes:
    """Return one frame that holds the records.

    Raises:
        ValueError: they do not fit into one frame.
    """
    body = json.dumps([to_json(record) for record in records], separators=(",", ":")).encode()
    if len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes is over {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Put frames together from the bytes of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take bytes as they come, yield the records of every frame that is complete.

        Raises:
            ValueError: the bytes are not ours (length over `MAX_FRAME`, no JSON, unknown record).
        """
        self._bytes += data
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes is over {MAX_FRAME}")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                return
            values = parse(bytes(self._bytes[_LENGTH.size : end]))
            del self._bytes[:end]
            if not isinstance(values, list):
                raise ValueError("a frame that is no list of records")  # noqa: TRY004  (data, not a caller's mistake)
            for value in values:
                yield from_json(value)


def read_all(connection: socket.socket) -> Iterator[Record]:
    """Yield records until the other side closes; a broken connection counts as closed.

    Raises:
        ValueError: the bytes are not ours.
    """
    reader = Reader()
    while True:
        try:
            data = connection.recv(1 << 18)
        except OSError:
            return
        if not data:
            return
        yield from reader.feed(data)
