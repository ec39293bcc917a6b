"""Records that go together: text that is written word by word, and a frame of which one record is bad."""

from __future__ import annotations

from autoinstrument.guard import guard
from autoinstrument.records import ConsoleWritten, Record
from autoinstrument.transport.protocol import encode

_JOIN_MS, _JOIN_CHARACTERS = 20, 4000


def append(batch: list[Record], record: Record) -> None:
    """Add a record; text that goes on where the one before ended joins it (`print` writes each word by itself)."""
    last = batch[-1] if batch else None
    if (
        isinstance(record, ConsoleWritten)
        and isinstance(last, ConsoleWritten)
        and record.stream == last.stream
        and record.time_ms - last.time_ms < _JOIN_MS
        and len(last.text) < _JOIN_CHARACTERS
    ):
        batch[-1] = last._replace(text=last.text + record.text)
    else:
        batch.append(record)


def frame(batch: list[Record]) -> bytes:
    """Return the records as a frame; one that cannot be sent is left out and counted, and keeps no other back."""
    try:
        return encode(batch)
    except (TypeError, ValueError):
        good: list[Record] = []
        for record in batch:
            with guard(f"sending {type(record).__name__}"):
                encode([record])
                good.append(record)
        return encode(good)
