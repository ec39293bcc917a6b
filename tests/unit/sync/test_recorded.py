"""`sync` of runs whose worker is delivering them at the same time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from autoinstrument.capture.machine import machine
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mlflow_store.store_errors import NoStoreError
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.sync.recorded import _remedy, sync
from autoinstrument.sync.selection import Selection
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("1" * 32, "a", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")


def ended_run(settings: Settings, number: int) -> RunJournal:
    """Return the journal of a run that has ended, and that this process is about to deliver."""
    journal = RunJournals(settings).of(RUN._replace(run_id=f"{number:032x}"), PROCESS)
    journal.machine, journal.worker_pid = machine(), os.getpid()
    journal.worker_started_ms = int(psutil.Process().create_time() * 1000)
    journal.end = {"status": "completed", "reason": "", "message": ""}
    journal.save()
    return journal


def test_a_run_that_its_worker_completes_is_not_waited_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker stays for the next process, and so it is alive when the run's journal is gone."""
    settings = Settings(home=str(tmp_path))
    journal = ended_run(settings, 1)
    pauses: list[float] = []

    def complete(pause_s: float) -> None:
        assert journal.is_there, "sync waits for a run that is complete"
        pauses.append(pause_s)
        journal.remove()

    monkeypatch.setattr(time, "sleep", complete)
    assert list(sync(Selection(), settings)) == []
    assert len(pauses) == 1


def test_many_runs_of_a_worker_that_cannot_deliver_are_not_waited_for_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that goes on during an outage has thousands of them, and each took a quarter of a minute."""
    settings = Settings(home=str(tmp_path))
    for number in range(3):
        ended_run(settings, number)
    paused_s = 0.0

    def pause(pause_s: float) -> None:
        nonlocal paused_s
        paused_s += pause_s

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(time, "monotonic", lambda: paused_s)
    assert [outcome.result for outcome in sync(Selection(), settings)] == ["running"] * 3
    assert paused_s <= 16


def test_only_a_store_that_is_not_there_may_be_gone(tmp_path: Path) -> None:
    """Nobody is advised to delete the journals of a store that an older MLflow has made: it is migrated, and read."""
    gone = _remedy(NoStoreError("sqlite:////x.db", "does not exist"), RUN.run_id, tmp_path / RUN.run_id)
    assert f"delete its runs' journals in {tmp_path}" in gone
    old = NoStoreError("sqlite:////x.db", "is of an older MLflow", "run `mlflow db upgrade`", is_new=False)
    assert _remedy(old, RUN.run_id, tmp_path / RUN.run_id) == ""


def test_runs_are_not_tried_one_by_one_if_the_server_does_not_answer(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path
) -> None:
    """Each may wait half a minute for a server that hangs, and hundreds may have been recorded meanwhile."""
    settings = Settings(home=str(tmp_path))
    for number in range(5):
        run_id = client.create_run("0", start_time=number).info.run_id
        client.set_terminated(run_id)
        run = RUN._replace(run_id=run_id, tracking_uri=client.tracking_uri, start_time_ms=number)
        journal = RunJournals(settings).of(run, PROCESS)
        journal.end = {"status": "completed", "reason": "", "message": ""}
        journal.save()
    server.faults.add(Fault(endpoints="tasks.*", action="drop"))
    outcomes = list(sync(Selection(), settings))
    assert [outcome.result for outcome in outcomes] == ["failed"] * 5
    assert [outcome.error for outcome in outcomes] == ["clearml_unavailable"] * 3 + [""] * 2, "three were tried"
    assert outcomes[-1].detail == outcomes[2].detail
