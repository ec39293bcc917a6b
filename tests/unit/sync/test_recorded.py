"""`sync` of runs whose worker is delivering them at the same time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from autoinstrument.capture.machine import machine
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mlflow_store.store_errors import NoStoreError
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.sync.recorded import _remedy, sync
from autoinstrument.sync.selection import Selection
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("1" * 32, "a", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")


def test_a_run_that_its_worker_completes_is_not_waited_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker stays for the next process, and so it is alive when the run's journal is gone."""
    settings = Settings(home=str(tmp_path))
    journal = RunJournals(settings).of(RUN, PROCESS)
    journal.machine, journal.worker_pid = machine(), os.getpid()
    journal.worker_started_ms = int(psutil.Process().create_time() * 1000)
    journal.end = {"status": "completed", "reason": "", "message": ""}
    journal.save()
    pauses: list[float] = []

    def complete(pause_s: float) -> None:
        assert journal.is_there, "sync waits for a run that is complete"
        pauses.append(pause_s)
        journal.remove()

    monkeypatch.setattr(time, "sleep", complete)
    assert list(sync(Selection(), settings)) == []
    assert len(pauses) == 1


def test_only_a_store_that_is_not_there_may_be_gone(tmp_path: Path) -> None:
    """Nobody is advised to delete the journals of a store that an older MLflow has made: it is migrated, and read."""
    gone = _remedy(NoStoreError("sqlite:////x.db", "does not exist"), RUN.run_id, tmp_path / RUN.run_id)
    assert f"delete its runs' journals in {tmp_path}" in gone
    old = NoStoreError("sqlite:////x.db", "is of an older MLflow", "run `mlflow db upgrade`", is_new=False)
    assert _remedy(old, RUN.run_id, tmp_path / RUN.run_id) == ""
