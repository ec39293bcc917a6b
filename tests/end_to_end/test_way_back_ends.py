"""A program of an agent is ended from outside, or fails: ClearML and MLflow both have the right status."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
from mlflow.entities import Run

from tests.end_to_end.harness import link_tags, properties, scalars
from tests.end_to_end.processes import wait_for
from tests.end_to_end.remote import Remote

SCRIPT = """
import sys, time
import mlflow

with mlflow.start_run():
    mlflow.log_metric("outer", 1.0, step=0)
    with mlflow.start_run(run_name="child", nested=True):
        mlflow.log_metric("loss", 0.5, step=0)
        if sys.argv[1] == "wait":
            time.sleep(300)
    assert sys.argv[1] != "bad"
if sys.argv[1] == "slow":
    time.sleep(4)
"""


@pytest.fixture(scope="module")
def origin(remote: Remote) -> tuple[Run, dict[str, Any]]:
    remote.commit({"train.py": SCRIPT})
    return remote.train("good", command=["train.py"], experiment="ends")


def start(remote: Remote, source: dict[str, Any], argument: str) -> tuple[str, Run]:
    """Let a clone run until it has logged something; return its id and its run."""
    clone = remote.clone(source, Args__argv=argument)
    run = remote.running(clone)
    child = wait_for(lambda: [task for task in remote.server.tasks if task.get("parent") == clone])[0]
    wait_for(lambda: scalars(remote.server, child["id"]))
    return clone, run


def test_a_script_that_fails(remote: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    clone = remote.clone(origin[1], Args__argv="bad")
    assert remote.ended(clone)["status"] == "failed"
    assert remote.run(clone).info.status == "FAILED"


def test_a_script_that_is_killed(remote: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """As by the system for lack of memory: the agent reports it, and the worker ends the runs in MLflow."""
    clone, run = start(remote, origin[1], "wait")
    assert remote.daemon is not None
    below = psutil.Process(remote.daemon.pid).children(recursive=True)
    (script,) = [process for process in below if any(word.endswith("train.py") for word in process.cmdline())]
    script.kill()
    assert remote.ended(clone)["status"] == "failed"
    wait_for(lambda: remote.statuses(run) == ["KILLED", "KILLED"])
    wait_for(lambda: link_tags(remote.run(clone))["state"] == "synced")


def test_an_abort_in_clearml(remote: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """The agent kills all processes below itself; the worker, which is none of them, ends the runs in MLflow."""
    clone, run = start(remote, origin[1], "wait")
    remote.call("tasks.stop", task=clone)
    assert remote.ended(clone)["status"] == "stopped"
    wait_for(lambda: remote.statuses(run) == ["KILLED", "KILLED"])
    child = next(task for task in remote.server.tasks if task.get("parent") == clone)
    wait_for(lambda: remote.server.task(child["id"])["status"] == "stopped")
    wait_for(lambda: link_tags(remote.run(clone))["state"] == "synced")
    wait_for(lambda: not remote.place.workers())


def test_a_reset_in_clearml(remote: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """The Task stays empty: data of the killed process is not written to it again.

    When it runs again, its second run has the origin of the first one, and not the first one as origin.
    """
    clone, run = start(remote, origin[1], "wait")
    remote.call("tasks.reset", task=clone, force=True)
    wait_for(lambda: remote.statuses(run) == ["KILLED", "KILLED"])
    wait_for(lambda: not remote.place.workers())
    assert remote.server.task(clone)["status"] == "created"
    assert scalars(remote.server, clone) == {}
    assert link_tags(remote.place.mlflow_run(run.info.run_id))["state"] == "pending", "`sync` makes it a Task"

    edited = [{"section": "Args", "name": "argv", "value": "slow"}]
    remote.call("tasks.edit_hyper_params", task=clone, hyperparams=edited)
    remote.call("tasks.enqueue", task=clone)
    assert remote.ended(clone)["status"] == "completed"
    first, second = (link_tags(remote.place.mlflow_run(one.info.run_id)) for one in remote.linked(clone))
    assert first["task_id"] == second["task_id"] == clone
    assert first["cloned_from_run"] == second["cloned_from_run"] == origin[0].info.run_id
    assert first["cloned_from"] == second["cloned_from"] == origin[1]["id"]
    assert (first["changed"], second["changed"]) == ("Args/argv: good -> wait", "Args/argv: good -> slow")
    new = properties(remote.server.task(clone))["mlflow_run_id"]
    found = remote.place.command("verify", run.info.run_id)
    assert f"the Task {clone} was run again and is the Task of run {new} now" in found.stdout, found.stderr


@pytest.mark.parametrize("argument", ["wait", "slow"])
def test_an_agent_that_is_killed(remote: Remote, origin: tuple[Run, dict[str, Any]], argument: str) -> None:
    """With its Task's process, or alone, and the process goes on to its end. No agent is left to report the end."""
    clone, run = start(remote, origin[1], argument)
    if argument == "wait":
        remote.kill()
        expected = ("stopped", ["KILLED", "KILLED"])
    else:
        assert remote.daemon is not None
        remote.daemon.kill()
        remote.daemon.wait()
        remote.daemon = None
        expected = ("completed", ["FINISHED", "FINISHED"])
    wait_for(lambda: (remote.server.task(clone)["status"], remote.statuses(run)) == expected)
