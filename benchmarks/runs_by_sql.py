"""Runs of an MLflow database that begin, log and end by SQL: MLflow's client needs more CPU time than a follower."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.sync_memory import copies


class RunsBySql:
    """Runs of a database of SQLite's.

    Args:
        database: its file.
        first: id of a run that has ended, of which all others are copies; "" for any run.
    """

    def __init__(self, database: Path, first: str = "") -> None:
        self._database = database
        with self.connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # MLflow reads while this process writes
            # As other databases do by themselves: without statistics, SQLite 3.40 reads the points of all runs for the
            # history of a metric of one run (MLflow's `get_metric_history`), here 12 ms instead of 0.1 ms.
            connection.execute("ANALYZE")
            self._first = first or connection.execute("SELECT run_uuid FROM runs LIMIT 1").fetchone()[0]

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Give a connection, whose changes are committed at the end."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=120)) as connection, connection:
            yield connection

    def begin(self, count: int) -> list[str]:
        """Begin runs that have points and parameters; return their ids."""
        with self.connection() as connection:
            ids = copies(connection, self._first, count)
            begin = "UPDATE runs SET status = 'RUNNING', lifecycle_stage = 'active', end_time = NULL, start_time = ?"
            connection.executemany(f"{begin} WHERE run_uuid = ?", [(_now_ms(), each) for each in ids])
        return ids

    def log(self, ids: Sequence[str], keys: Sequence[str], step: int) -> None:
        """Log a point of each metric to runs; its value is the step."""
        rows = [(key, step, _now_ms(), each, step) for each in ids for key in keys]
        with self.connection() as connection:
            for insert in ("INSERT INTO metrics", "INSERT OR REPLACE INTO latest_metrics"):
                columns = "(key, value, timestamp, run_uuid, step, is_nan)"
                connection.executemany(f"{insert} {columns} VALUES (?, ?, ?, ?, ?, 0)", rows)

    def end(self, ids: Sequence[str], ago_s: float = 0.0) -> None:
        """End runs, by a clock that is so many seconds slow."""
        with self.connection() as connection:
            end = "UPDATE runs SET status = 'FINISHED', end_time = ? WHERE run_uuid = ?"
            ended_ms = _now_ms() - int(1000 * ago_s)
            connection.executemany(end, [(ended_ms, each) for each in ids])


def _now_ms() -> int:
    return int(time.time() * 1000)
