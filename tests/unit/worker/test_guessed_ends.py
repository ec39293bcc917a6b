"""An end that was not reported counts if MLflow has no end, or does not answer; `sync` asks again."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.mapping.run_status import of_death
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


def test_where_mlflow_does_not_answer_the_guess_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunStarted("1" * 32, "a", "0", "exp", "https+nowhere://mlflow", "", "", 0, "", {}, False, True, "")
    worker_end, process_end = socket.socketpair()
    with ClearMLServer() as server, worker_end, process_end:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        session = Session()
        uploads = Uploads(FileUploads(session))
        (tmp_path / "captures").mkdir(mode=0o700)
        mirror = LiveRun(
            RunJournal(tmp_path / "captures" / run.run_id, run, PROCESS), Settings(), Tasks(session), uploads
        )
        mirror.end_as(of_death(out_of_memory=True), guessed=True)
        mirror.note_incomplete()
        Scheduler(Tasks(session), uploads).deliver(mirror, TrainingProcess(worker_end), is_open=False)
        (task,) = server.tasks
        assert (task["status"], task["status_reason"]) == ("failed", "killed by the system: out of memory")
        kept = RunJournal.load(mirror.journal.folder)
        assert (kept.guessed, kept.end["status"]) == (True, "failed")
        mirror.reopen(run)
        mirror.journal.save()
        kept = RunJournal.load(mirror.journal.folder)
        assert (kept.guessed, kept.end) == (False, {})
