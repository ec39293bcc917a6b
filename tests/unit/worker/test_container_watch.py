"""A container ends with the Task of its agent, and the worker in it: the runs are ended in MLflow before."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import RunsKilled
from autoinstrument.settings import Settings
from autoinstrument.transport.protocol import read_all
from autoinstrument.worker import agent_task, container_watch
from autoinstrument.worker.agent_task import ClearMLAgent, task_of_container
from autoinstrument.worker.container_watch import ContainerWatch
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.unit.sync.test_stored import a_run
from tests.unit.sync.test_stored import server as server


def at_once(work: Callable[[], Any], then: Callable[[Any], object]) -> None:
    then(work())


@pytest.mark.parametrize(
    ("action", "reason", "held"),
    [
        ("stopped", "aborted in ClearML: bad loss", "a Task"),
        ("reset", "the Task was reset in ClearML", ""),
        ("delete", "the Task was deleted in ClearML", ""),
        ("failed", "the Task was set to failed in ClearML", "a Task"),
    ],
)
def test_the_task_ends(
    server: ClearMLServer,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    reason: str,
    held: str,
) -> None:
    monkeypatch.setattr(container_watch, "_EVERY_S", 0.0)
    tasks, registry = Tasks(Session()), RunRegistry()
    task = tasks.create("containers", {"name": "clone", "type": "training"})
    tasks.start(task)
    worker_end, process_end = socket.socketpair()
    process = TrainingProcess(worker_end)
    process.container_task = task.id
    run_id = a_run(client, "in a container", status="")
    run = open_run(client.tracking_uri, run_id).run._replace(owned=True, task_id=task.id)
    capture = RunJournals(Settings(home=str(tmp_path))).of(run, None)
    capture.task_id, capture.adopted = task.id, True
    mirror = LiveRun(capture, Settings(), tasks, Uploads(FileUploads(Session())))
    registry.mirrors[run_id] = mirror
    registry.began(process, run_id, owned=True)
    registry.processes.append(process)
    access, prepared = MLflowAccess(), list[str]()
    monkeypatch.setattr(access, "prepare", prepared.append)
    watch = ContainerWatch(tasks, registry, access, at_once)

    watch.look()
    assert not prepared  # all of the container ends with the process: the worker writes nothing
    process.agent = ClearMLAgent([psutil.Process()], psutil.Process())  # a pod
    watch.look()
    assert prepared == [client.tracking_uri]
    server.faults.add(Fault("tasks.get_all", status=400, times=1))
    watch.look()
    assert run_id in registry.open  # the Task is running, and an error changes nothing
    session = Session()
    words = {"status_message": "bad loss"} if action == "stopped" else {}
    session.call(f"tasks.{action}", task=task.id, force=True, **words)
    watch.look()
    watch.look()  # only one message is sent
    assert not registry.open
    assert capture.killed
    assert mirror.end is not None
    assert mirror.end.status == "stopped"
    assert bool(capture.task_id) is bool(held)
    worker_end.close()
    assert [record for record in read_all(process_end) if isinstance(record, RunsKilled)] == [
        RunsKilled([run_id], reason)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux's")
def test_a_process_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that the agent sets, a container, and no daemon above: it is outside."""
    pid, now = os.getpid(), 2**42
    daemon = ClearMLAgent([psutil.Process()], psutil.Process())
    monkeypatch.setattr(agent_task, "_is_in_container", lambda: True)
    assert task_of_container(pid, now, None) == ""
    monkeypatch.setenv("CLEARML_TASK_ID", "7")
    assert task_of_container(pid, now, None) == "7"
    assert task_of_container(pid, now, daemon) == "7"  # no daemon: this is pytest
    monkeypatch.setattr(agent_task, "_is_daemon", lambda _: True)
    assert task_of_container(pid, now, daemon) == ""
    monkeypatch.setattr(agent_task, "_is_in_container", lambda: False)
    assert task_of_container(pid, now, None) == ""
