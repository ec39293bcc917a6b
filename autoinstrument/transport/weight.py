"""What a record weighs in memory, so that buffers can be bounded in bytes and not only in records."""

from __future__ import annotations

from autoinstrument.records import ArtifactLogged, ConsoleWritten, MetricsLogged, ParamsLogged, Record, TagsSet

_RECORD, _POINT, _TEXT = 200, 200, 60
"""Bytes of a record, of a point with its numbers, and of a text beside its characters (CPython 3.11, 64 bits)."""


def weight(record: Record) -> int:
    """Return about how many bytes a record takes; an estimate that errs on the heavy side."""
    if isinstance(record, MetricsLogged):
        return _RECORD + _POINT * len(record.points)
    if isinstance(record, ParamsLogged):
        return _RECORD + sum(2 * _TEXT + len(key) + len(value) for key, value, _ in record.params)
    if isinstance(record, TagsSet):
        return _RECORD + sum(2 * _TEXT + len(key) + len(value) for key, value in record.tags.items())
    if isinstance(record, ConsoleWritten):
        return _RECORD + len(record.text)
    if isinstance(record, ArtifactLogged):
        return _RECORD + len(record.content or "")
    return _RECORD
