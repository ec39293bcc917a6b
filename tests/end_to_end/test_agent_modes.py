"""The modes in which people run `clearml-agent`: in containers, as a service, several at a time, without a daemon."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from mlflow.entities import Run

from tests.end_to_end import containers
from tests.end_to_end.harness import link_tags, section, task_of
from tests.end_to_end.processes import wait_for
from tests.end_to_end.remote import UNSERVED, Remote

pytestmark = pytest.mark.slow

SCRIPT = """
import os, signal, sys, time
import mlflow

with mlflow.start_run():
    mlflow.log_metric("loss", 0.5, step=0)
    with mlflow.start_run(run_name="child", nested=True):
        mlflow.log_param("pid", os.getpid())
        if sys.argv[1] == "killed":
            while "clearml.task_id" not in mlflow.get_parent_run(mlflow.active_run().info.run_id).data.tags:
                time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[1] == "wait":
            time.sleep(300)
    assert sys.argv[1] != "bad"
"""

PROJECT = """
name: inside
docker_env:
  image: python:3.12
  environment: [[SIZE, large], MACHINE]
  volumes: [/tmp:/mnt/of-the-machine]
entry_points:
  main:
    parameters: {code: {type: int, default: 0}}
    command: "python size.py {code}"
"""
SIZE = """
import os, sys
import mlflow

with mlflow.start_run():
    mlflow.log_params({"size": os.environ["SIZE"], "machine": os.environ["MACHINE"]})
    if sys.argv[1] != "0":
        sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def origin(remote: Remote) -> tuple[Run, dict[str, Any]]:
    remote.commit({"train.py": SCRIPT})
    return remote.train("good", command=["train.py"], experiment="modes")


@pytest.fixture(scope="module")
def docker(remote: Remote) -> Remote:
    """An agent that runs the Tasks of the queue `docker` in containers."""
    if reason := containers.missing():
        pytest.skip(f"no namespaces: {reason}")
    folder = containers.install(remote.place.root / "docker")
    inside = {
        "PIP_NO_INDEX": "1", "CLEARML_AGENT_SKIP_PYTHON_ENV_INSTALL": "1", "AUTOINSTRUMENT_EXIT_TIMEOUT": "120",
        "AUTOINSTRUMENT_HOME": str(remote.place.home), "TMPDIR": str(remote.place.temporary),
    }  # fmt: skip
    python = folder / "python"  # of the container; the agent would bring its pip up to date first
    agents = remote.command.parent / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in "-m pip"*) exit ;; esac\nexec {agents} "$@"\n')
    python.chmod(0o755)
    settings = {
        "docker_init_bash_script": [f"export LOCAL_PYTHON={python}"],
        "extra_docker_arguments": [word for name, value in inside.items() for word in ("-e", f"{name}={value}")],
    }
    file = remote.home / "docker.conf"
    file.write_text(json.dumps({"agent": settings}))
    remote.start_another(
        "docker", "--docker", "python:3.11", PATH=f"{folder}:{remote.environment()['PATH']}",
        CLEARML_CONFIG_FILE=str(file), CLEARML_AGENT_QUEUE_POLL_FREQ_SEC="2", MACHINE="this one",
    )  # fmt: skip
    return remote


def wait_for_child(remote: Remote, clone: str) -> Run:
    """Wait until a clone has begun its child run; return its run."""
    run = wait_for(lambda: remote.linked(clone))[0]
    wait_for(lambda: len(remote.statuses(run)) == 2)
    return run


def test_a_container(docker: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """The container ends with the script, and with it the worker: all of the run has been delivered by then."""
    clone = docker.clone(origin[1], queue="docker", Args__argv="good again")
    assert docker.has_ended(clone)["status"] == "completed", docker.server.console(clone)
    run = docker.run(clone)
    assert docker.statuses(run) == ["FINISHED", "FINISHED"]
    assert link_tags(run)["state"] == "synced"
    assert "Running Task" in docker.server.console(clone)


def test_an_abort_of_a_container(docker: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """Every process that could end the runs in MLflow dies with the container: the agent waits until they are ended."""
    clone = docker.clone(origin[1], queue="docker", Args__argv="wait")
    run = wait_for_child(docker, clone)
    docker.call("tasks.stop", task=clone)
    assert docker.has_ended(clone)["status"] == "stopped"
    assert docker.statuses(run) == ["KILLED", "KILLED"]
    assert "Task abort callback completed in" in docker.server.console(clone)


def test_a_pod(docker: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """As the Kubernetes glue starts it: a part of the agent is inside, sees the process die, and then the pod ends.

    A real one ends sooner: `test_container_watch.py` shows that MLflow is loaded by then.
    """
    clone = docker.clone(origin[1], Args__argv="killed", queue="pods")
    environment = docker.environment(CLEARML_WORKER_ID="pod:0", AUTOINSTRUMENT_HOME=str(docker.place.home))
    carried = ("CLEARML_", "AUTOINSTRUMENT_", "TMPDIR", "GIT_")
    words = [
        word for name, value in environment.items() if name.startswith(carried) for word in ("-e", f"{name}={value}")
    ]
    execute = f"{docker.command} execute --full-monitoring --require-queue --id {clone}; sleep 20"
    command = [docker.place.root / "docker" / "docker", "run", *words, "image", "bash", "-c", execute]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False).stdout
    assert docker.server.task(clone)["status"] == "failed", printed
    assert docker.statuses(docker.run(clone)) == ["KILLED", "KILLED"], printed


@pytest.fixture(scope="module")
def project(docker: Remote) -> Remote:
    docker.commit({"project/MLproject": PROJECT, "project/size.py": SIZE})
    return docker


@pytest.mark.parametrize(("code", "ends"), [("0", ("completed", "FINISHED")), ("3", ("failed", "FAILED"))])
def test_a_project_in_its_container(project: Remote, code: str, ends: tuple[str, str]) -> None:
    """`docker_env` is the Task's container, and with `"wait": true` the command ends as the Task does."""
    config = json.dumps({"queue": "docker", "wait": True})
    words = [
        "--backend",
        "clearml",
        "--backend-config",
        config,
        "-P",
        f"code={code}",
        "--experiment-name",
        f"exit {code}",
    ]
    done = project.place.run("", command=["-m", "mlflow", "run", "project", *words])
    assert (done.code == 0) is (code == "0"), done.stderr
    (run,) = project.runs(f"exit {code}")
    task = project.server.task(link_tags(run)["task_id"])
    assert (task["status"], run.info.status) == ends, project.server.console(task["id"])
    assert (run.data.params["size"], run.data.params["machine"]) == ("large", "this one")
    words = "-v /tmp:/mnt/of-the-machine -e SIZE=large -e MACHINE"
    assert (task["container"]["image"], task["container"]["arguments"]) == ("python:3.12", words)


def test_services_beside_another_agent(remote: Remote, origin: tuple[Run, dict[str, Any]]) -> None:
    """Several agents on a machine, one of which runs several Tasks at a time: each run is that of its own Task."""
    remote.start_another("services", "--services-mode")
    clones = [remote.clone(origin[1], queue="services", Args__argv="wait") for _ in range(2)]
    third = remote.clone(origin[1], Args__argv="good elsewhere")
    first, second = (wait_for_child(remote, clone) for clone in clones)
    assert remote.ended(third)["status"] == "completed"
    assert remote.statuses(first) == remote.statuses(second) == ["RUNNING", "RUNNING"]
    remote.call("tasks.stop", task=clones[0])
    wait_for(lambda: remote.statuses(first) == ["KILLED", "KILLED"])
    assert remote.statuses(second) == ["RUNNING", "RUNNING"]
    remote.call("tasks.stop", task=clones[1])
    wait_for(lambda: remote.statuses(second) == ["KILLED", "KILLED"])
    assert [remote.server.task(clone)["status"] for clone in clones] == ["stopped", "stopped"]


def test_variables_that_an_agent_takes_from_the_task(remote: Remote) -> None:
    """`agent.enable_task_env`: the section *Environment* is set, as edited; the origin's run id is not in it."""
    settings = remote.home / "environment.conf"
    development = {"log_os_environments": ["SIZE", "MLFLOW_*"]}
    settings.write_text(json.dumps({"agent": {"enable_task_env": True}, "sdk": {"development": development}}))
    remote.commit(
        {"sized.py": "import os, mlflow\nwith mlflow.start_run():\n    mlflow.log_param('size', os.environ['SIZE'])\n"}
    )
    place = remote.place
    given = place.client.create_run(place.client.create_experiment("sized")).info.run_id
    given_too = {"SIZE": "small", "MLFLOW_RUN_ID": given, "CLEARML_CONFIG_FILE": str(settings)}
    done = place.run("", command=["sized.py"], fresh=True, **given_too)
    assert done.code == 0, done.stderr
    task = task_of(remote.server, given)
    variables = section(task, "Environment")
    assert (variables["SIZE"], variables["MLFLOW_TRACKING_URI"]) == ("small", place.uri)
    assert "MLFLOW_RUN_ID" not in variables
    clone = remote.clone(task, queue=UNSERVED, Environment__SIZE="large")
    printed = remote.execute(clone, CLEARML_CONFIG_FILE=str(settings))
    run = remote.run(clone)
    assert run.data.params == {"size": "large"}, printed
    assert link_tags(run)["changed"] == "Environment/SIZE: small -> large"
