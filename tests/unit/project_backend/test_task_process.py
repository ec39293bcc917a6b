"""A project becomes a queued Task, which is followed and stopped; against the server, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.queues import Queues
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.project_backend import task_process
from autoinstrument.project_backend.submission import Submission
from autoinstrument.project_backend.task_process import TAKEN_AWAY, cancel, status, submit, wait, withdraw
from autoinstrument.records import RunStarted, to_json
from tests.clearml_server import ClearMLServer, Fault
from tests.unit.conftest import sdk_task

RUN = RunStarted(
    run_id="r" * 32, run_name="bold-ant", experiment_id="1", experiment_name="team/wine", tracking_uri="http://m:5000",
    run_url="http://m:5000/#/runs/r", artifact_uri="", start_time_ms=1, parent_run_id="", tags={}, resumed=False,
    owned=True, task_id="",
)  # fmt: skip


@pytest.fixture
def session(server: ClearMLServer) -> Session:
    return Session()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_process, "_POLL_S", 0.01)
    monkeypatch.setattr(task_process, "_STOP_S", 0.3)


@pytest.fixture
def job(tmp_path: Path) -> Submission:
    (tmp_path / "MLproject").write_text("name: x\n")
    return {
        "run": to_json(RUN), "folder": str(tmp_path), "sys_path": [], "entry_point": "main",
        "parameters": [("alpha", "0.3", "float")], "python": "3.10", "pip": "mlflow\n", "conda": "numpy==1.26.*\n",
        "image": "python:3.10", "docker_args": ["-e", "X=1 2"], "parent": "", "queue": "gpu", "project": "",
        "tags": ["sweep"], "is_urgent": True,
    }  # fmt: skip


def asked(job: Submission, session: Session) -> dict[str, str]:
    return {"task": submit(session, job)["task"], "run": RUN.run_id}


def test_the_task_as_a_user_reads_it(server: ClearMLServer, session: Session, job: Submission) -> None:
    answer = submit(session, job)
    assert answer["warnings"] == ["no agent serves the queue gpu now: the run waits for one"]
    task = sdk_task(answer["task"])
    assert (task.name, task.get_project_name(), str(task.get_status())) == ("bold-ant", "team/wine", "queued")
    assert sorted(task.get_tags()) == ["mlflow", "sweep"]
    assert task.get_parameters()["Args/alpha"] == "0.3"
    assert task.get_user_properties(value_only=True)["mlflow_run_id"] == RUN.run_id
    assert task.get_base_docker() == "python:3.10 -e 'X=1 2'"
    script = task.data.script
    assert (script.entry_point, script.binary) == ("run_project_backend.py main", "python3.10")
    assert "FILES['MLproject']" in script.diff
    packages = script.requirements
    assert packages["pip"].startswith("mlflow\nautoinstrument==")
    assert packages["conda"].startswith("numpy==1.26.*\nautoinstrument==")
    assert "MLFLOW_EXPERIMENT_NAME=team/wine" in task.get_configuration_object("autoinstrument")


def test_the_task_is_the_runs_while_it_waits(session: Session, job: Submission) -> None:
    """`sync` and other processes that log to the run must find this Task, and make none."""
    task = asked(job, session)["task"]
    assert Tasks(session).of_run(RUN.run_id) == task
    clone = session.call("tasks.clone", task=task)["id"]
    session.call("tasks.reset", task=task)
    assert Tasks(session).of_run(RUN.run_id) == ""
    assert status(session, {"task": task, "run": RUN.run_id}) == {"status": TAKEN_AWAY}
    assert status(session, {"task": clone, "run": RUN.run_id}) == {"status": TAKEN_AWAY}


@pytest.mark.parametrize("end", ["completed", "failed", "stopped"])
def test_waiting_for_the_end(session: Session, job: Submission, end: str) -> None:
    content = asked(job, session)
    session.call("tasks.started", task=content["task"], force=True)
    assert status(session, content) == {"status": "in_progress"}
    session.call(f"tasks.{end}", task=content["task"], force=True)
    assert wait(session, content) == {"status": end}


def test_a_server_that_is_away_for_a_while(server: ClearMLServer, session: Session, job: Submission) -> None:
    content = asked(job, session)
    session.call("tasks.failed", task=content["task"], force=True)
    server.faults.add(Fault("tasks.get_by_id", status=503, times=20))
    assert wait(session, content) == {"status": "failed"}


def test_a_task_that_was_deleted(session: Session, job: Submission) -> None:
    content = asked(job, session)
    session.call("tasks.delete", task=content["task"], force=True)
    assert wait(session, content) == cancel(session, content) == {"status": TAKEN_AWAY}


def test_stopping_a_queued_task(server: ClearMLServer, session: Session, job: Submission) -> None:
    content = asked(job, session)
    (queue,) = session.call("queues.get_all", name="gpu")["queues"]
    assert cancel(session, content) == {"status": "stopped"}
    assert session.call("queues.get_by_id", queue=queue["id"])["queue"]["entries"] == []


@pytest.mark.parametrize("has_agent", [False, True])
def test_stopping_a_running_task(session: Session, job: Submission, has_agent: bool) -> None:
    """An agent that does not stop the Task in time is gone."""
    content = asked(job, session)
    session.call("tasks.started", task=content["task"], force=True)
    if has_agent:
        session.call("workers.status_report", worker="a:0", task=content["task"], timestamp=1)
    assert cancel(session, content) == {"status": "stopped"}


def test_the_front_of_the_queue(session: Session, job: Submission) -> None:
    other, queue = Queues(session).create_queued(Tasks(session), "gpu", "project", {"name": "one", "type": "training"})
    task = submit(session, job)["task"]
    entries: list[dict[str, Any]] = session.call("queues.get_by_id", queue=queue)["queue"]["entries"]
    assert [entry["task"] for entry in entries] == [task, other.id]


def test_a_task_that_was_queued_without_a_response(server: ClearMLServer, session: Session, job: Submission) -> None:
    submit(session, job)
    assert withdraw(session, {"run": RUN.run_id}) == {"deleted": 1}
    assert not server.tasks


def test_a_refusal(server: ClearMLServer, session: Session, job: Submission) -> None:
    server.faults.add(Fault("tasks.enqueue", status=413))
    with pytest.raises(ClearMLError):
        submit(session, job)
    assert not server.tasks
