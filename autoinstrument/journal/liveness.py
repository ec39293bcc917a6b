"""Check whether a recorded run is still at work: `sync` must not end it then.

On the machine where the run was started, the process table answers (`process_identity`). Another machine or container
that shares `AUTOINSTRUMENT_HOME` cannot look there: it uses the heartbeat that the worker leaves in the run's folder.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from autoinstrument.capture.machine import machine
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.process_identity import is_alive

BEAT_S = 30.0
"""How often a worker leaves a heartbeat."""
SILENT_S = 300.0
"""A run on another machine counts as dead after so long without a heartbeat; network file systems cache for 60 s."""
STARTING_S = 10.0
"""How long `sync` leaves alone a run that only its training process has recorded: the worker is starting."""


def beat(journal: RunJournal) -> None:
    """Leave a heartbeat, if this process keeps the run's journal.

    Raises:
        OSError: the folder cannot be written.
    """
    if journal.kept:
        os.utime(journal.folder / "capture.json")


def give_up(journal: RunJournal) -> bool:
    """Note on disk that this process does not complete the run, unless another worker has taken the run over.

    Returns:
        False if nothing was noted: the run is another worker's, or its Task is complete.

    Raises:
        OSError: the folder cannot be written.
    """
    try:
        kept = RunJournal.load(journal.folder)
    except FileNotFoundError:
        return False
    except ValueError:
        kept = journal
    if kept.worker_pid not in (0, os.getpid()):
        return False
    journal.worker_pid = 0
    journal.save()
    return True


def why_alive(journal: RunJournal) -> str:
    """Return why a run counts as being at work, for a person; "" if its process and its worker are gone."""
    process = journal.process
    if process is None:
        return ""
    if journal.machine == machine():
        is_training = not journal.end and is_alive(process.pid, process.started_ms)
        if is_training or is_alive(journal.worker_pid, journal.worker_started_ms):
            return "its process is still at work"
        if not (journal.end or journal.worker_pid) and _silence_s(journal.folder) < STARTING_S:
            return "its worker may be about to begin"
        return ""
    if journal.end and not journal.worker_pid:
        return ""
    silent_s = _silence_s(journal.folder)
    if silent_s < SILENT_S:
        return f"it was at work on {process.host} {silent_s:.0f} s ago"
    return ""


def _silence_s(folder: Path) -> float:
    """Return the age of the last heartbeat by the clock of the file system, because machines' clocks differ."""
    try:
        last = max((folder / name).stat().st_mtime for name in os.listdir(folder))  # noqa: PTH208
        with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=".now-") as now:
            return max(0.0, Path(now.name).stat().st_mtime - last)
    except (OSError, ValueError):
        return SILENT_S  # the run's folder is gone, or the folder above cannot be written
