"""MLflow projects are queued by `mlflow run --backend clearml` and run by the real `clearml-agent`."""

from __future__ import annotations

import json
import re

import pytest
from mlflow.entities import Run

from tests.end_to_end.harness import Place, link_tags, properties, scalars, section
from tests.end_to_end.processes import Finished, wait_for
from tests.end_to_end.remote import Remote

MLPROJECT = """
name: wine
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.5}
      data: {type: string, default: "a b"}
    command: "echo begins && python train.py --alpha {alpha} --data {data}"
  silent:
    command: "python -c 'print(1 + 1)'"
  wait:
    command: "python train.py --alpha 1 --wait"
  fails:
    command: "python train.py --alpha 1 --fail"
"""
TRAIN = """
import argparse, sys, time
import mlflow
from extra import NAME

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float)
parser.add_argument("--data", default="")
parser.add_argument("--wait", action="store_true")
parser.add_argument("--fail", action="store_true")
args, rest = parser.parse_known_args()
with mlflow.start_run():
    mlflow.log_metric("loss", 1 - args.alpha, step=1)
    mlflow.set_tag("seen", f"{args.data} {rest} {NAME}")
    if args.wait:
        time.sleep(300)
    assert not args.fail
"""
WAIT = """
import os, signal, sys, threading, time
import mlflow

def interrupt():
    begun = "attributes.status = 'RUNNING' and tags.`clearml.task_id` LIKE '%'"
    while not mlflow.search_runs(experiment_names=["waited"], filter_string=begun).shape[0]:
        time.sleep(0.5)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGINT)

if sys.argv[1] == "wait":
    threading.Thread(target=interrupt, daemon=True).start()
try:
    run = mlflow.projects.run(
        "project", sys.argv[1], backend="clearml", backend_config={"queue": "default"}, experiment_name="waited",
    )
except mlflow.exceptions.ExecutionException as error:
    print(error)
else:
    print(run.run_id, run.get_status(), "clearml" in sys.modules)
"""
QUEUE = {"queue": "default", "tags": ["from-mlflow"]}


@pytest.fixture(scope="module")
def project(remote: Remote) -> Remote:
    """A machine with an agent, and a project that was changed after the last commit."""
    commit(remote)
    remote.start_daemon()
    return remote


def commit(remote: Remote) -> None:
    remote.commit({"project/MLproject": MLPROJECT, "project/train.py": TRAIN, "README": "projects"})
    remote.place.write("project/extra.py", "NAME = 'not committed'\n")
    remote.place.write("queue.json", json.dumps(QUEUE))


def mlflow_run(place: Place, *words: str, **more: str) -> Finished:
    line = ["-m", "mlflow", "run", "project", "--backend", "clearml", "--backend-config", "queue.json", *words]
    return place.run("", command=line, **more)


def of_project(remote: Remote, experiment: str) -> Run:
    (run,) = wait_for(lambda: [run for run in remote.runs(experiment) if "clearml.task_id" in run.data.tags])
    return run


def test_a_project_with_parameters_and_uncommitted_files(project: Remote) -> None:
    """The run that MLflow makes is the one that the agent's process continues; a clone with another value is another.

    The process that queues it is mirrored, too (`AUTOINSTRUMENT_ENABLED`), but has no part in the run.
    """
    words = ("-P", "alpha=0.25", "-P", "more=3", "--experiment-name", "wine", "--run-name", "first")
    done = mlflow_run(project.place, *words)
    assert done.code == 0, done.stderr
    task_id = link_tags(of_project(project, "wine"))["task_id"]
    task = project.ended(task_id)
    run = of_project(project, "wine")
    assert (run.info.status, task["status"]) == ("FINISHED", "completed"), project.server.console(task_id)
    assert (run.info.run_name, task["name"]) == ("first", "first")
    assert run.data.params == {"alpha": "0.25", "data": "'a b'", "more": "3"}
    assert section(task, "Args") == {"alpha": "0.25", "data": "a b", "more": "3"}
    assert {name: item.get("type") for name, item in task["hyperparams"]["Args"].items()}["alpha"] == "float"
    assert run.data.tags["seen"] == "a b ['--more', '3'] not committed"
    assert (task["script"]["entry_point"], task["script"]["working_dir"]) == (
        "-m autoinstrument.project_backend main",
        "project",
    )
    assert link_tags(run)["state"] == "synced", "the container may end with the Task"
    assert {"mlflow", "from-mlflow"} <= set(task["tags"])
    assert section(task, "MLflow") == run.data.params
    assert scalars(project.server, task_id) == project.place.points(run.info.run_id)
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert len([task for task in project.server.tasks if properties(task).get("mlflow_experiment") == "wine"]) == 1
    found = project.place.command("verify", run.info.run_id)
    assert found.code == 0, found.stdout + found.stderr

    clone = project.clone(task, Args__alpha="0.75")
    assert project.ended(clone)["status"] == "completed", project.server.console(clone)
    second = project.run(clone)
    assert second.data.params == {"alpha": "0.75", "data": "'a b'", "more": "3"}
    assert second.data.metrics == {"loss": 0.25}
    assert link_tags(second)["changed"] == "Args/alpha: 0.25 -> 0.75"
    assert link_tags(second)["cloned_from_run"] == run.info.run_id
    assert len(project.runs("wine")) == 2


def test_an_entry_point_that_logs_nothing(project: Remote) -> None:
    done = mlflow_run(project.place, "-e", "silent", "--experiment-name", "silent", AUTOINSTRUMENT_ENABLED="")
    assert done.code == 0, done.stderr
    project.ended(link_tags(of_project(project, "silent"))["task_id"])
    run = of_project(project, "silent")
    assert (run.info.status, link_tags(run)["state"]) == ("FINISHED", "synced")


def test_waiting_for_a_project(project: Remote) -> None:
    """`mlflow.projects.run` returns when the Task has ended, and raises where it failed."""
    done = project.place.run(WAIT, "silent", name="wait.py")
    run_id, status, *loaded = done.stdout.split()
    assert (status, loaded) == ("FINISHED", ["False"]), done.stderr
    assert project.place.mlflow_run(run_id).info.status == "FINISHED"
    done = project.place.run(WAIT, "fails", name="wait.py")
    failed = re.match(r"Run \(ID '(\w+)'\) failed: http", done.stdout)
    assert failed, done.stdout + done.stderr
    run = project.place.mlflow_run(failed[1])
    assert (run.info.status, project.server.task(link_tags(run)["task_id"])["status"]) == ("FAILED", "failed")


def test_interrupting_the_wait_stops_the_task(project: Remote) -> None:
    done = project.place.run(WAIT, "wait", name="wait.py", fresh=True)
    assert done.code != 0
    assert "KeyboardInterrupt" in done.stderr
    run = project.runs("waited")[-1]
    assert run.info.status == "KILLED"
    assert project.server.task(link_tags(run)["task_id"])["status"] == "stopped"
