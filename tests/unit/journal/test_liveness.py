"""`sync` ends no run that is being worked on, on this machine or on another one that shares AUTOINSTRUMENT_HOME."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from autoinstrument.capture.machine import machine
from autoinstrument.journal.liveness import SILENT_S, STARTING_S, beat, give_up, why_alive
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.records import RunStarted
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("1" * 32, "a", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")
HERE = PROCESS._replace(pid=os.getpid(), started_ms=int(psutil.Process().create_time() * 1000))


@pytest.fixture
def journal(tmp_path: Path) -> RunJournal:
    """The journal of a run whose process is this one."""
    journal = RunJournal(tmp_path / RUN.run_id, RUN, HERE)
    journal.machine = machine()
    journal.save()
    return journal


def test_on_this_machine_the_process_table_decides(journal: RunJournal) -> None:
    assert "still at work" in why_alive(journal)
    journal.process = HERE._replace(started_ms=HERE.started_ms - 60_000)  # another process has got the number since
    assert "its worker may be about to begin" in why_alive(journal)
    old = (journal.folder / "capture.json").stat().st_mtime - STARTING_S - 1
    os.utime(journal.folder / "capture.json", (old, old))
    assert why_alive(journal) == ""
    beat(journal)
    journal.worker_pid = HERE.pid + 1_000_000  # it had one, which is gone too
    assert why_alive(journal) == ""
    journal.process, journal.end = HERE, {"status": "completed", "reason": "", "message": ""}
    assert why_alive(journal) == ""


def test_on_other_machines_the_heartbeat_decides(journal: RunJournal) -> None:
    """Another host, another boot, another container: process ids from there mean nothing here."""
    journal.machine, journal.worker_pid = f"{machine()} other", os.getpid()
    assert "it was at work on host" in why_alive(journal)
    old = (journal.folder / "capture.json").stat().st_mtime - SILENT_S - 60
    os.utime(journal.folder / "capture.json", (old, old))
    assert why_alive(journal) == ""
    beat(journal)
    assert "it was at work" in why_alive(journal)
    journal.end, journal.worker_pid = {"status": "completed", "reason": "", "message": ""}, 0  # its worker has given up
    assert why_alive(journal) == ""


def test_a_run_that_another_worker_has_taken_over_is_not_given_up(journal: RunJournal) -> None:
    """A worker that is stopped ends while its successor already writes to the same journal."""
    journal.worker_pid = os.getpid()
    journal.save()
    other = RunJournal.load(journal.folder)
    other.worker_pid = os.getpid() + 1
    other.save()
    assert not give_up(journal)
    assert RunJournal.load(journal.folder).worker_pid == os.getpid() + 1
    journal.save()
    assert give_up(journal)
    assert RunJournal.load(journal.folder).worker_pid == 0
    journal.remove()
    assert not give_up(journal)
