"""A Task that is stopped ends its training where a person has stopped it, and nowhere else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.mapping import links
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import AbortLogged, MetricsLogged, ParamsLogged, RunAborted, RunDeleted
from autoinstrument.settings import Settings
from autoinstrument.transport.protocol import encode, read_all
from autoinstrument.worker import training_process as process_module
from autoinstrument.worker.abort_watcher import AbortWatcher
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.receiver import Receiver
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import scalars, section, task_of
from tests.end_to_end.processes import wait_for
from tests.unit.conftest import Configure
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import a_run, autoinstrument
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def training() -> Iterator[subprocess.Popen[bytes]]:
    """A process that trains until it is stopped."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as running:
        yield running
        running.kill()


def test_only_a_person_stops_a_training(
    server: ClearMLServer,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    training: subprocess.Popen[bytes],
) -> None:
    """`sync` elsewhere and the server end the Tasks of processes that are silent; these may come back, and go on."""
    session, run_id = Session(), a_run(client, "silent for a while", status="")
    worker_end, process_end = socket.socketpair()
    process = TrainingProcess(worker_end)
    started_ms = int(psutil.Process(training.pid).create_time() * 1000)
    process.start(PROCESS._replace(pid=training.pid, started_ms=started_ms))
    run = open_run(client.tracking_uri, run_id).run
    journal = RunJournals(Settings(home=str(tmp_path / "home"))).of(run._replace(owned=True), process.started)
    journal.machine = "elsewhere"
    journal.save()
    tasks, uploads = Tasks(session), Uploads(FileUploads(session))
    mirror, delivery = LiveRun(journal, Settings(), tasks, uploads), Scheduler(tasks, uploads)
    watch = AbortWatcher(tasks)

    def becomes(expected: str) -> bool:
        """Do the worker's rounds, look and deliver, until the Task has a status: a look may fail."""
        return wait_for(lambda: status() == expected)

    def status() -> str:
        watch.look(watch.begin([(mirror, [process])] if mirror.is_running else []), LiveRun.do)
        delivery.deliver(mirror, process, is_open=True)
        return str(task_of(server, run_id)["status"])

    try:
        mirror.console.write("stdout", "before\n", 1)
        assert becomes("in_progress")
        for file in journal.folder.iterdir():
            os.utime(file, (0, 0))
        assert autoinstrument("sync").exit_code == 0
        task = task_of(server, run_id)
        assert (task["status"], journal.folder.exists()) == ("stopped", False)
        assert becomes("in_progress")
        mirror.console.write("stdout", "after\n", 2)
        kept = RunJournal.load(journal.folder)
        assert [line for _, line, _ in kept.console(kept.console_sent)] == ["after"]
        wait_for(lambda: status() and server.console(task["id"]).splitlines() == ["before", "after"])
        assert becomes("in_progress")
        session.call("tasks.stopped", task=task["id"], status_reason="Forced stop (non-responsive)", force=True)
        assert becomes("in_progress")
        mirror.take(RunDeleted(run_id))
        assert becomes("in_progress")
        client.set_terminated(run_id, "KILLED")
        monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "of somebody else"))
        assert autoinstrument("sync", "--run", run_id).exit_code == 0
        assert becomes("stopped")
        assert training.poll() is None
        assert process.exit.aborted == ""
        session.call("tasks.started", task=task["id"], force=True)
        session.call("tasks.stop", task=task["id"], status_reason="by a person")
        wait_for(lambda: status() == "stopped" and process.exit.aborted)
        assert training.wait(60) == -signal.SIGTERM
        assert process.exit.aborted.endswith("by a person")
    finally:
        worker_end.close()
        process_end.close()


@pytest.mark.parametrize("status", ["completed", "failed", "close"])
def test_a_task_that_a_person_ends_by_hand_stays_so(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, training: subprocess.Popen[bytes], status: str
) -> None:
    """The training goes on, and what it logs arrives. An end by another machine's worker is undone."""
    session, run_id = Session(), a_run(client, "by hand", status="")
    tasks, uploads = Tasks(session), Uploads(FileUploads(session))
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        process = TrainingProcess(worker_end)
        started_ms = int(psutil.Process(training.pid).create_time() * 1000)
        process.start(PROCESS._replace(pid=training.pid, started_ms=started_ms))
        run = open_run(client.tracking_uri, run_id).run._replace(owned=True)
        mirror = LiveRun(RunJournal(tmp_path / "journal", run, process.started), Settings(), tasks, uploads)
        delivery, watch = Scheduler(tasks, uploads), AbortWatcher(tasks)

        def look() -> str:
            watch.look(watch.begin([(mirror, [process])]), LiveRun.do)
            delivery.deliver(mirror, process, is_open=True)
            return str(task_of(server, run_id)["status"])

        delivery.deliver(mirror, process, is_open=True)
        task_id = task_of(server, run_id)["id"]
        if status == "close":
            session.call("tasks.stopped", task=task_id, force=True)
        session.call(f"tasks.{status}", task=task_id, **({} if status == "close" else {"status_reason": "enough"}))
        ended = task_of(server, run_id)["status"]
        assert ended != "in_progress"
        mirror.take(MetricsLogged(run_id, [("late", 0.5, 1, 1)]))
        mirror.take(ParamsLogged(run_id, [("late", "1", "")]))
        assert [look(), look()] == [ended, ended]
        assert training.poll() is None
        assert section(task_of(server, run_id), "MLflow")["late"] == "1"
        assert ("late", 1) in scalars(server, task_id)
        tasks.set_hyperparameters(mirror.task, links.end_time(1_600_000_000_000))
        assert [look(), look()][-1] == "in_progress"


def test_a_process_logs_why_before_it_is_ended(
    training: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends it at once; one that does not answer, as in a C extension, is ended some seconds later."""
    monkeypatch.setattr(process_module, "_LOG_S", 60.0)
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        process = TrainingProcess(worker_end)
        started_ms = int(psutil.Process(training.pid).create_time() * 1000)
        process.start(PROCESS._replace(pid=training.pid, started_ms=started_ms))
        threading.Thread(target=Receiver().read, args=(process,), daemon=True).start()
        aborting = threading.Thread(target=process.abort, args=("run", "aborted in ClearML: by a person"))
        aborting.start()
        assert next(read_all(process_end)) == RunAborted("run", "aborted in ClearML: by a person")
        assert training.poll() is None
        process_end.sendall(encode([AbortLogged("run")]))
        assert training.wait(30) == -signal.SIGTERM
        aborting.join(30)


def test_nothing_is_asked_if_clearml_is_configured_not_to_stop_processes(
    server: ClearMLServer, configure: Configure
) -> None:
    nothing: Any = (None, None)
    watch = AbortWatcher(Tasks(Session()))
    watch.look({"1" * 32: nothing}, LiveRun.do)
    assert server.requests
    server.clear_requests()
    configure("development.support_stopping", False)
    AbortWatcher(Tasks(Session())).look({"1" * 32: nothing}, LiveRun.do)
    AbortWatcher(Tasks(Session()), aborts=False).look({"1" * 32: nothing}, LiveRun.do)
    assert server.requests == []
    AbortWatcher(Tasks(Session()), dead_after_s=300.0).look({"1" * 32: nothing}, LiveRun.do)
    assert server.requests, "a run that `sync --follow` has ended must go on"


def test_a_job_on_this_machine_is_stopped_as_the_sdk_does_it(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path, training: subprocess.Popen[bytes]
) -> None:
    """By its reason `LocalClearmlJob` knows an abort from a failure. A Task that an agent runs is left to the agent."""
    session, run_id = Session(), a_run(client, "job", status="")
    tasks, uploads = Tasks(session), Uploads(FileUploads(session))
    task = tasks.create("pipeline", {"name": "job", "type": "training"})
    tasks.start(task)
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        process = TrainingProcess(worker_end)
        started_ms = int(psutil.Process(training.pid).create_time() * 1000)
        process.start(PROCESS._replace(pid=training.pid, started_ms=started_ms))
        run = open_run(client.tracking_uri, run_id).run._replace(owned=True, task_id=task.id)
        mirrors = {}
        for is_local in (False, True):
            journal = RunJournal(tmp_path / str(is_local), run._replace(is_local_job=is_local), process.started)
            mirrors[is_local] = LiveRun(journal, Settings(), tasks, uploads)
            mirrors[is_local].make_task()
        session.call("tasks.stop", task=task.id)
        assert (mirrors[False].is_running, mirrors[True].is_running) == (False, True)
        watch = AbortWatcher(tasks)
        watch.look(watch.begin([(mirrors[True], [process])]), LiveRun.do)
        assert training.wait(30) == -signal.SIGTERM
        assert (server.task(task.id)["status"], server.task(task.id)["status_reason"]) == ("stopped", "USER ABORTED")
