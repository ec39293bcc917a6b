"""Weigh records, and bound what waits in memory: the one measure of every buffer between a logging call and ClearML.

`limits` names the bounds of all buffers.
"""

from __future__ import annotations

from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import (
    ArtifactLogged,
    ConsoleWritten,
    MetricsLogged,
    ModelMetricsLogged,
    ModelsRead,
    ParamsLogged,
    PromptsUsed,
    Record,
    TagsSet,
)

RECORD, POINT, NAMED_TEXT = 200, 200, 200
"""Bytes of a record, of a point with its numbers, and of a name with a text beside their characters (CPython 3.10 to
3.13, 64 bits)."""
ONE_POINT = RECORD + POINT
"""Weight of a record with one point."""
DROPPABLE = (MetricsLogged, ParamsLogged, TagsSet, ModelMetricsLogged)
"""Records of which a run may log any number, and which MLflow's store holds: without room they are read from there."""


class Limit(NamedTuple):
    """The bounds of one buffer."""

    records: int
    bytes: int


def weight(record: Record) -> int:
    """Return about how many bytes a record takes in memory, erring on the heavy side.

    The content of an artifact is weighed by `content_weight`. Console text weighs its characters alone: it is written
    in pieces of any size and joined on its way, so that buffers bound the pieces by their number.
    """
    if isinstance(record, (MetricsLogged, ModelMetricsLogged)):
        return RECORD + POINT * len(record.points)
    if isinstance(record, ConsoleWritten):
        return len(record.text)
    if isinstance(record, ParamsLogged):
        return RECORD + sum(NAMED_TEXT + len(key) + len(value) for key, value, _ in record.params)
    if isinstance(record, TagsSet):
        return RECORD + sum(NAMED_TEXT + len(key) + len(value) for key, value in record.tags.items())
    if isinstance(record, PromptsUsed):
        return RECORD + sum(4 * NAMED_TEXT + len(prompt["template"]) for prompt in record.prompts)
    if isinstance(record, ModelsRead):
        return RECORD + 4 * NAMED_TEXT * len(record.models)
    return RECORD


def content_weight(record: object) -> int:
    """Return how many bytes the content of an artifact takes, 0 for any other record."""
    return len(record.content or "") if isinstance(record, ArtifactLogged) else 0


def items(record: MetricsLogged | ParamsLogged | TagsSet | ModelMetricsLogged) -> int:
    """Return how many points, parameters or tags a record holds."""
    return len(record[1])


class Budget:
    """The records that wait in one buffer, counted against the buffer's limit.

    A record of any size is taken as long as the limit is not reached. No lock is taken: any thread may add records
    while one thread removes them. Where several threads add at the same moment, one of them may not be counted, until
    `clear` corrects the count.
    """

    __slots__ = ("_added", "_bytes_added", "_bytes_removed", "_most_bytes", "_most_records", "_removed")

    def __init__(self, limit: Limit) -> None:
        self._most_records, self._most_bytes = limit
        self._added = self._removed = self._bytes_added = self._bytes_removed = 0

    @property
    def records(self) -> int:
        """Records that wait."""
        return self._added - self._removed

    @property
    def bytes(self) -> int:
        """Bytes of the records that wait."""
        return self._bytes_added - self._bytes_removed

    def take(self, size: int) -> bool:
        """Count a record of `size` bytes, unless the limit is reached; return True if there was room."""
        # Written out: the training's threads call this for every record.
        if (
            self._added - self._removed >= self._most_records
            or self._bytes_added - self._bytes_removed >= self._most_bytes
        ):
            return False
        self._added += 1
        self._bytes_added += size
        return True

    def add(self, size: int) -> None:
        """Count a record of `size` bytes in any case."""
        self._added += 1
        self._bytes_added += size

    def remove(self, size: int) -> None:
        """Count a record of `size` bytes no more."""
        self._removed += 1
        self._bytes_removed += size

    def clear(self) -> None:
        """Note that nothing waits; for a thread that adds."""
        self._added, self._bytes_added = self._removed, self._bytes_removed

    def has_room(self, size: int = 1, *, times: float = 1) -> bool:
        """Return True if a record of `size` bytes stays below `times` the limit.

        Without a size, return True if the limit is not reached.
        """
        return self.records < times * self._most_records and self.bytes + size <= times * self._most_bytes
