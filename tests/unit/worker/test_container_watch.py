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


GRACE = {"_abort_callback_timeout": 20.0, "_abort_poll_freq": 0.0, "_abort_callback_completed": ""}


def runtime(server: ClearMLServer, task_id: str) -> dict[str, Any]:
    found = server.tasks_where(lambda task: task["id"] == task_id)
    return dict(found[0].get("runtime") or {}) if found else {}


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
    for name in ("_EVERY_S", "_PATIENT_S", "_END_S"):
        monkeypatch.setattr(container_watch, name, 0.0)
    tasks, registry = Tasks(Session()), RunRegistry()
    task = tasks.create("containers", {"name": "clone", "type": "training"})
    tasks.start(task)
    worker_end, process_end = socket.socketpair()
    process = TrainingProcess(worker_end)
    monkeypatch.setattr(process, "_container_task", task.id)
    run_id = a_run(client, "in a container", status="")
    run = open_run(client.tracking_uri, run_id).run._replace(owned=True, task_id=task.id)
    journal = RunJournals(Settings(home=str(tmp_path))).of(run, None)
    journal.task_id, journal.adopted = task.id, True
    mirror = LiveRun(journal, Settings(), tasks, Uploads(FileUploads(Session())))
    registry.mirrors[run_id] = mirror
    registry.began(process, run_id, owned=True)
    registry.processes.append(process)
    access, prepared = MLflowAccess(), list[str]()
    monkeypatch.setattr(access, "prepare", prepared.append)
    watch = ContainerWatch(tasks, registry, access, at_once)

    watch.look()
    assert not prepared  # all of the container ends with the process: the worker writes nothing
    pod = ClearMLAgent([psutil.Process()], psutil.Process())
    monkeypatch.setattr(process, "_agent", pod)
    watch.look()
    assert prepared == [client.tracking_uri]
    server.faults.add(Fault("tasks.get_all", status=413, times=1))
    watch.look()
    assert run_id in registry.open  # the Task is running, and an error changes nothing
    session = Session()
    words = {"status_message": "bad loss"} if action == "stopped" else {}
    session.call(f"tasks.{action}", task=task.id, force=True, **words)
    watch.look()
    assert runtime(server, task.id) == {} if action in ("reset", "delete") else GRACE
    watch.look()  # only one message is sent
    if action in ("stopped", "failed"):
        assert runtime(server, task.id) == {**GRACE, "_abort_callback_completed": 1}, "the agent need not wait any more"
    assert not registry.open
    assert journal.killed
    assert mirror.end is not None
    assert mirror.end.status == "stopped"
    assert bool(journal.task_id) is bool(held)
    worker_end.close()
    assert [record for record in read_all(process_end) if isinstance(record, RunsKilled)] == [
        RunsKilled([run_id], reason)
    ]


def test_the_programs_own_callback_is_left_alone(server: ClearMLServer) -> None:
    """The agent ends the container as soon as that has ended: the worker asks as often as the agent."""
    tasks, session = Tasks(Session()), Session()
    task = tasks.create("containers", {"name": "own", "type": "training"})
    own = {"_abort_callback_timeout": 30.0, "_abort_poll_freq": 15.0, "_abort_callback_completed": ""}
    session.call("tasks.edit", task=task.id, runtime=own, force=True)
    assert tasks.ask_for_grace(task.id, 20.0, 10.0) is False
    assert runtime(server, task.id) == own
    session.call("tasks.edit", task=task.id, runtime={"_abort_callback_timeout": -1.0, "hostname": "a"}, force=True)
    for _ in range(2):  # the Task may have been run before
        assert tasks.ask_for_grace(task.id, 20.0, 10.0) is True
        assert runtime(server, task.id) == {
            "_abort_callback_timeout": 20.0, "_abort_poll_freq": 10.0, "_abort_callback_completed": "", "hostname": "a",
        }  # fmt: skip
        tasks.end_grace(task.id)


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
