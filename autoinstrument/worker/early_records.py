"""Records of runs that the worker does not know yet, bounded in number and bytes.

A child process may log to a run that its parent is still describing, on another connection. MLflow holds these records
as well, so that they may be dropped.
"""

from __future__ import annotations

from typing import Any

from autoinstrument.transport.budget import content_weight, weight
from autoinstrument.transport.limits import UNKNOWN_RUNS
from autoinstrument.worker.training_process import TrainingProcess


class EarlyRecords:
    """The records, each with its process, in the order of their arrival.

    Console text that waits for its process's first run counts towards the same bytes, see `worker.console_router`.
    """

    def __init__(self) -> None:
        self._records: list[tuple[TrainingProcess, Any, int]] = []
        """Each record with its process and its weight."""
        self._bytes = 0
        self._lost: set[str] = set()
        """Runs of which a record was dropped."""

    def has_room(self, number: int) -> bool:
        """Return True if one more may wait where `number` are waiting."""
        return number < UNKNOWN_RUNS.records and self._bytes < UNKNOWN_RUNS.bytes

    def reserve(self, size: int) -> None:
        """Count bytes that wait, or negative ones that do not wait any longer."""
        self._bytes += size

    def add(self, process: TrainingProcess, record: Any) -> None:
        """Keep a record of a run, or drop it if there is no room."""
        if self.has_room(len(self._records)):
            size = weight(record) + content_weight(record)
            self._records.append((process, record, size))
            self._bytes += size
        else:
            self.drop(record.run_id)

    def forget(self, process: TrainingProcess) -> None:
        """Drop the records of a process that is gone: no process will describe their runs."""
        self._bytes -= sum(size for other, _, size in self._records if other is process)
        self._records = [each for each in self._records if each[0] is not process]

    def drop(self, run_id: str) -> None:
        """Note that a record of a run was dropped."""
        if len(self._lost) < UNKNOWN_RUNS.records:
            self._lost.add(run_id)

    def take(self) -> list[tuple[TrainingProcess, Any]]:
        """Return all records, and forget them."""
        records, self._records = self._records, []
        self._bytes -= sum(size for *_, size in records)
        return [(process, record) for process, record, _ in records]

    def take_lost(self, run_id: str) -> bool:
        """Return True, once, if a record of the run was dropped."""
        is_lost = run_id in self._lost
        self._lost.discard(run_id)
        return is_lost
