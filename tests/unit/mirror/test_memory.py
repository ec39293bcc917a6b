"""The worker's memory of a run whose Task is complete, and of one that goes on after that."""

from __future__ import annotations

import socket
import tracemalloc
from pathlib import Path

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.kinds import drawn_points, last_points, metrics_part, point_order
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import MetricsLogged, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.unit.mirror.runs import PROCESS

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
POINTS = 1_500
FILES = {str(module.__file__) for module in (drawn_points, last_points, metrics_part, point_order)}


def points(run: RunStarted, start: int, stop: int) -> MetricsLogged:
    return MetricsLogged(
        run.run_id, [("loss", step / 7, 1_700_000_000_000 + step, step) for step in range(start, stop)]
    )


def held_bytes() -> int:
    """Return the bytes that the modules which remember points have allocated and not freed."""
    found = tracemalloc.take_snapshot().statistics("filename")  # filters would compare each allocation with each file
    return sum(of_file.size for of_file in found if of_file.traceback[0].filename in FILES)


def test_complete_runs_hold_no_points_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker_end, process_end = socket.socketpair()
    with ClearMLServer() as server, worker_end, process_end:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        session = Session()
        tasks, uploads = Tasks(session), Uploads(FileUploads(session))
        delivery, process = Scheduler(tasks, uploads), TrainingProcess(worker_end)
        mirrors: list[LiveRun] = []
        session.login.session()  # loads the SDK, whose allocations would be counted too
        tracemalloc.start()
        try:
            for number in range(2):
                run = RunStarted(f"{number:032x}", "a", "0", "exp", "sqlite:////x", "", "", 0, "", {}, False, True, "")
                mirror = LiveRun(RunJournal(tmp_path / run.run_id, run, PROCESS), Settings(), tasks, uploads)
                mirror.take(points(run, 0, POINTS))
                delivery.deliver(mirror, process, is_open=True)
                assert held_bytes() > 80 * POINTS
                mirror.end_as(End("completed", "", ""))
                delivery.deliver(mirror, process, is_open=False)
                assert mirror.is_closed
                assert held_bytes() < 40_000
                mirrors.append(mirror)
        finally:
            tracemalloc.stop()
    first, second = mirrors
    first.take(points(first.run, POINTS, POINTS + 5))
    assert not first.is_incomplete, "no point of these steps was there before"
    first.take(points(first.run, 10, 11))
    assert first.is_incomplete, "which of the points of this step is drawn, MLflow is to say"
    second.reopen(second.run)
    assert second.is_incomplete
