"""A machine that vanishes takes training, worker and disk along; a follower elsewhere ends its runs on both sides."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars, task_of
from tests.end_to_end.processes import Started, wait_for

SCRIPT = """
import mlflow, pathlib, time
with mlflow.start_run(run_name="outer"), mlflow.start_run(run_name="inner", nested=True):
    mlflow.log_metric("loss", 1.0, step=0)
    pathlib.Path("ready").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    mlflow.log_metric("loss", 0.5, step=1)
"""
DEAD_AFTER = {"AUTOINSTRUMENT_DEAD_AFTER": "5"}

pytestmark = pytest.mark.may_report("goes on, its Task was stopped")


@pytest.fixture
def training(own_place: Place) -> Started:
    started = own_place.start(SCRIPT, AUTOINSTRUMENT_ABORT="off", **DEAD_AFTER)  # what comes back continues anyway
    wait_for(lambda: (own_place.folder / "ready").exists() and is_live(own_place, "outer", "inner"))
    return started


@pytest.fixture
def follower(own_place: Place, training: Started) -> Iterator[Started]:
    """`sync --follow` on another machine: it has journals of its own."""
    elsewhere = {"AUTOINSTRUMENT_HOME": str(own_place.folder / "elsewhere"), **DEAD_AFTER}
    command = ["-m", "autoinstrument", "sync", "--all", "--follow"]
    started = own_place.start("", command=command, agent=False, **elsewhere)
    yield started
    started.kill(signal.SIGTERM)
    assert started.finish().code == 0


def is_live(place: Place, *names: str) -> bool:
    runs = {run.info.run_name: run for run in place.mlflow_runs()}
    return all(name in runs and link_tags(runs[name]).get("state") == "live" for name in names)


def states(place: Place, server: ClearMLServer) -> set[tuple[str, str]]:
    runs = place.mlflow_runs()
    return {(run.info.status, str(task_of(server, run.info.run_id)["status"])) for run in runs}


def test_a_pod_is_evicted(own_place: Place, own_server: ClearMLServer, training: Started, follower: Started) -> None:
    """Nothing of it is left to report an end."""
    wait_for(lambda: all("hostname" in (task.get("runtime") or {}) for task in own_server.tasks))
    training.kill(signal.SIGKILL)
    own_place.kill_workers()
    training.finish()
    wait_for(lambda: states(own_place, own_server) == {("KILLED", "stopped")})
    for run in own_place.mlflow_runs():
        task = ended(own_server, run.info.run_id)
        assert task["status_reason"].startswith("no sign of life since ")
        assert task["status_reason"].endswith(f" from {task['runtime']['hostname']}")
        assert run.info.end_time >= run.info.start_time
    wait_for(lambda: all(link_tags(run)["state"] == "synced" for run in own_place.mlflow_runs()))
    verified = own_place.command("verify")
    assert verified.code == 0, verified.stdout


def test_a_machine_sleeps_and_wakes_up(
    own_place: Place, own_server: ClearMLServer, training: Started, follower: Started
) -> None:
    """The run is taken up again: both sides say that it is running, and how it ends in the end."""
    (worker,) = own_place.workers()
    training.kill(signal.SIGSTOP)
    worker.suspend()
    wait_for(lambda: states(own_place, own_server) == {("KILLED", "stopped")})
    worker.resume()
    training.kill(signal.SIGCONT)
    wait_for(lambda: states(own_place, own_server) == {("RUNNING", "in_progress")})
    (own_place.folder / "go").touch()
    assert training.finish().code == 0
    wait_for(lambda: states(own_place, own_server) == {("FINISHED", "completed")})
    run = own_place.run_named("inner")
    assert scalars(own_server, task_of(own_server, run.info.run_id)["id"]) == own_place.points(run.info.run_id)
    wait_for(lambda: all(link_tags(run)["state"] == "synced" for run in own_place.mlflow_runs()))
    verified = own_place.command("verify")
    assert verified.code == 0, verified.stdout
