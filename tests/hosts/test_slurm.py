"""SLURM jobs: signals and the end of a job's processes, and the job's names on the Task.

No SLURM is needed: `slurm_step.py` does to a step's processes what SLURM does.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, task_of
from tests.end_to_end.processes import Started, wait_for
from tests.hosts import slurm_step

JOB = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_PARTITION": "a100"}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux"),
    # The worker is killed with its step, which the training process may notice before it is killed itself.
    pytest.mark.may_report("the worker process has died"),
]

RANKS = """
import os, pathlib, time
import mlflow

rank, known = int(os.environ["SLURM_PROCID"]), pathlib.Path("run-id")
if rank == 0:
    run_id = mlflow.start_run(run_name="step").info.run_id
    known.with_suffix(".new").write_text(run_id)
    known.with_suffix(".new").rename(known)
while not known.exists():
    time.sleep(0.02)
client = mlflow.MlflowClient()
for step in range(50):
    client.log_metric(known.read_text(), f"rank{rank}/loss", 1 / (step + 1), step=step)
print("rank", rank, "is done")
if rank == 0:
    while not pathlib.Path("rank 1").exists():
        time.sleep(0.02)
    mlflow.end_run()
pathlib.Path(f"rank {rank}").touch()
"""

REQUEUED = """
import os, pathlib, signal, sys, time
import mlflow

known, checkpoint = pathlib.Path("run-id"), pathlib.Path("checkpoint")
first = int(checkpoint.read_text()) if checkpoint.exists() else 0
at = first

def save(number, frame):
    print("checkpoint at", at, flush=True)
    checkpoint.write_text(str(at))

signal.signal(signal.SIGUSR1, save)
run = mlflow.start_run(run_id=known.read_text() if known.exists() else None)
known.write_text(run.info.run_id)
last = int(sys.argv[1])
for at in range(first, last):
    mlflow.log_metric("loss", 1 / (at + 1), step=at)
if last < 100:
    pathlib.Path("ready").touch()
    time.sleep(600)
mlflow.end_run()
"""


def submit(place: Place, script: str, *arguments: str, tasks: int = 1, **environ: str) -> Started:
    """Start a job with one step; `scancel` and the rest of SLURM send signals to it."""
    place.write("train.py", script)
    step = [str(Path(slurm_step.__file__)), "4712", "0", str(tasks), place.python, "train.py", *arguments]
    return place.start("", command=step, fresh=True, **JOB, **environ)


def test_a_step_of_several_tasks(place: Place, server: ClearMLServer) -> None:
    """One Task holds the points of all tasks; the step kills the remaining processes, and no data was waiting."""
    done = submit(place, RANKS, tasks=2).finish()
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = task_of(server, run.info.run_id)
    assert (task["status"], link_tags(run)["state"]) == ("completed", "synced")
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(place.points(run.info.run_id)) == 100
    assert {"rank 0 is done", "[rank 1] rank 1 is done"} <= set(server.console(task["id"]).splitlines())
    named = {name: value for name, value in properties(task).items() if name.startswith("slurm_")}
    assert named == {
        "slurm_job_id": "4712", "slurm_array_job_id": "4711", "slurm_array_index": "3", "slurm_partition": "a100",
        "slurm_node": task["runtime"]["hostname"],
    }  # fmt: skip
    assert not place.workers()
    assert place.journals() == []


@pytest.fixture
def preempted(own_place: Place, own_server: ClearMLServer) -> str:
    """The id of a run whose job got SIGUSR1 for a checkpoint, and then SIGTERM, which killed all there was of it."""
    job = submit(own_place, REQUEUED, "40")
    wait_for((own_place.folder / "ready").exists)
    wait_for(lambda: link_tags(own_place.the_run()).get("state") == "live")
    job.kill(signal.SIGUSR1)
    wait_for((own_place.folder / "checkpoint").exists)
    task_id = task_of(own_server, own_place.the_run().info.run_id)["id"]
    wait_for(lambda: "checkpoint at 39" in own_server.console(task_id))  # the last second of a killed process is lost
    job.kill(signal.SIGTERM)
    assert job.finish().code == 128 + signal.SIGTERM
    assert not own_place.workers()
    return str(own_place.the_run().info.run_id)


def test_a_job_is_requeued(own_place: Place, own_server: ClearMLServer, preempted: str) -> None:
    """It goes on from its checkpoint with the same run, and the same Task."""
    done = submit(own_place, REQUEUED, "100", SLURM_RESTART_COUNT="1").finish()
    assert done.code == 0, done.stderr
    task = task_of(own_server, preempted)
    assert len(own_server.tasks) == 1
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(preempted)
    assert len(own_place.points(preempted)) == 100
    assert properties(task)["slurm_restarts"] == "1"
    assert "checkpoint at 39" in own_server.console(task["id"])
    verified = own_place.command("verify")
    assert verified.code == 0, verified.stdout


@pytest.fixture
def follower(own_place: Place, own_server: ClearMLServer) -> Iterator[Started]:
    """`sync --follow` on another machine: it has journals of its own."""
    elsewhere = {"AUTOINSTRUMENT_HOME": str(own_place.folder / "elsewhere"), "AUTOINSTRUMENT_DEAD_AFTER": "15"}
    started = own_place.start(
        "", command=["-m", "autoinstrument", "sync", "--all", "--follow"], agent=False, **elsewhere
    )
    yield started
    started.kill(signal.SIGTERM)
    assert started.finish().code == 0


def test_a_job_is_cancelled(own_place: Place, own_server: ClearMLServer, preempted: str, follower: Started) -> None:
    """No process may be left to report its end: a follower ends it on both sides."""
    assert ended(own_server, preempted)["status"] == "stopped"
    wait_for(lambda: own_place.mlflow_run(preempted).info.status == "KILLED")
    wait_for(lambda: link_tags(own_place.mlflow_run(preempted))["state"] == "synced")
    verified = own_place.command("verify")
    assert (verified.code, verified.stdout) == (0, "1 the same, 0 different\n"), verified.stdout + verified.stderr
