"""An MLflow project is queued by `mlflow run --backend clearml` and run by the real `clearml-agent`: one run, one Task."""

from __future__ import annotations

import json
import re

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
    command: "python train.py --alpha {alpha} --data {data} && echo done"
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
QUEUE = {"queue": "default", "tags": ["from-mlflow"]}


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


def test_a_project_with_parameters_and_uncommitted_files(remote: Remote) -> None:
    """The run that MLflow makes is the one that the agent's process continues; a clone with another value is another.

    The process that queues it is mirrored, too (`AUTOINSTRUMENT_ENABLED`), but has no part in the run.
    """
    commit(remote)
    remote.start_daemon()
    words = ("-P", "alpha=0.25", "-P", "more=3", "--experiment-name", "wine", "--run-name", "first")
    done = mlflow_run(remote.place, *words)
    assert done.code == 0, done.stderr
    run = of_project(remote, "wine")
    task_id = link_tags(run)["task_id"]
    task = remote.server.task(task_id)
    assert (run.info.status, task["status"]) == ("FINISHED", "completed"), remote.server.console(task_id)
    assert (run.info.run_name, task["name"]) == ("first", "first")
    assert run.data.params == {"alpha": "0.25", "data": "'a b'", "more": "3"}
    assert section(task, "Args") == {"alpha": "0.25", "data": "a b", "more": "3"}
    assert {name: item["type"] for name, item in task["hyperparams"]["Args"].items()}["alpha"] == "float"
    assert run.data.tags["seen"] == "a b ['--more', '3'] not committed"
    assert (task["script"]["entry_point"], task["script"]["working_dir"]) == (
        "-m autoinstrument.project_backend main",
        "project",
    )
    assert {"mlflow", "from-mlflow"} <= set(task["tags"])
    assert section(task, "MLflow") == run.data.params
    assert scalars(remote.server, task_id) == remote.place.points(run.info.run_id)
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert link_tags(run) == {"task_id": task_id, "task_url": link_tags(run)["task_url"], "state": "synced"}
    assert len([task for task in remote.server.tasks if properties(task).get("mlflow_experiment") == "wine"]) == 1
    found = remote.place.command("verify", run.info.run_id)
    assert found.code == 0, found.stdout + found.stderr

    clone = remote.clone(task, Args__alpha="0.75")
    assert remote.ended(clone)["status"] == "completed", remote.server.console(clone)
    second = remote.run(clone)
    assert second.data.params == {"alpha": "0.75", "data": "'a b'", "more": "3"}
    assert second.data.metrics == {"loss": 0.25}
    assert link_tags(second)["changed"] == "Args/alpha: 0.25 -> 0.75"
    assert link_tags(second)["cloned_from_run"] == run.info.run_id
    assert len(remote.runs("wine")) == 2


def test_an_entry_point_that_logs_nothing(remote: Remote) -> None:
    commit(remote)
    remote.start_daemon()
    done = mlflow_run(remote.place, "-e", "silent", "--experiment-name", "silent", AUTOINSTRUMENT_ENABLED="")
    assert done.code == 0, done.stderr
    run = of_project(remote, "silent")
    assert run.info.status == "FINISHED"
    wait_for(lambda: link_tags(remote.place.mlflow_run(run.info.run_id))["state"] == "synced")


def test_an_entry_point_that_fails(remote: Remote) -> None:
    commit(remote)
    remote.start_daemon()
    done = mlflow_run(remote.place, "-e", "fails", "--experiment-name", "fails")
    assert done.code == 1
    run = of_project(remote, "fails")
    assert re.search(rf"Run \(ID '{run.info.run_id}'\) failed", done.stderr)
    assert (run.info.status, remote.server.task(link_tags(run)["task_id"])["status"]) == ("FAILED", "failed")
