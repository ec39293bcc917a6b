"""What a record weighs in memory, so that buffers can be bounded in bytes and not only in records."""

from __future__ import annotations

from autoinstrument.records import ArtifactLogged, ConsoleWritten, MetricsLogged, ParamsLogged, Record, TagsSet

RECORD, POINT, TEXT = 200, 200, 60
"""Bytes of a record, of a point with its numbers, and of a text beside its characters (CPython 3.11, 64 bits)."""
DROPPABLE = (MetricsLogged, ParamsLogged, TagsSet)
"""What MLflow's store has, and what a run may log any number of: where there is no room it is read from there."""


def weight(record: Record) -> int:
    """Return about how many bytes a record takes; an estimate that errs on the heavy side."""
    if isinstance(record, MetricsLogged):
        return RECORD + POINT * len(record.points)
    if isinstance(record, ParamsLogged):
        return RECORD + sum(2 * TEXT + len(key) + len(value) for key, value, _ in record.params)
    if isinstance(record, TagsSet):
        return RECORD + sum(2 * TEXT + len(key) + len(value) for key, value in record.tags.items())
    if isinstance(record, ConsoleWritten):
        return RECORD + len(record.text)
    if isinstance(record, ArtifactLogged):
        return RECORD + len(record.content or "")
    return RECORD


def items(record: MetricsLogged | ParamsLogged | TagsSet) -> int:
    """Return how many points, parameters or tags a record holds."""
    return len(record[1])
