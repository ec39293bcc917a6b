"""A Task that exists already is taken over: the script's own `Task.init`, or the one that an agent runs."""

from __future__ import annotations

import pytest
import requests

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, section, task_page
from tests.end_to_end.processes import wait_for

TRAIN = """
    mlflow.log_params({"lr": 0.1, "depth": 3})
    for step in range(50):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print("trained")
"""
INIT = 'task = Task.init("team/own", "own task", auto_resource_monitoring=False)'


BEFORE = f"""
from clearml import Task
import mlflow
{INIT}
with mlflow.start_run(run_name="adopting"):
{TRAIN}
task.get_logger().report_scalar("own", "series", 7, 1)
"""
AFTER = f"""
from clearml import Task
import mlflow
with mlflow.start_run(run_name="adopting"):
    mlflow.log_param("early", 1)
    mlflow.log_metric("loss", 9.0, step=99)
    {INIT}
{TRAIN}
task.get_logger().report_scalar("own", "series", 7, 1)
"""
AFTERWARDS = {"verify": ["verify"], "sync": ["sync", "--all"]}
LONG_AFTER = AFTER.replace("    task = Task", "    import time; time.sleep(4)\n    task = Task")


@pytest.mark.parametrize("script", [BEFORE, AFTER, LONG_AFTER], ids=["before", "after", "long after"])
def test_the_scripts_own_task_is_used(sdk_place: Place, own_server: ClearMLServer, script: str) -> None:
    """`Task.init` before the run, after it, or seconds after it: one Task in the end, with the data of both worlds."""
    done = sdk_place.run(script)
    assert done.code == 0, done.stderr
    run = sdk_place.the_run()
    (task,) = own_server.tasks
    assert task["name"] == "own task"
    assert own_server.project_name(task["project"]) == "team/own"
    assert task["status"] == "completed"
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert properties(task)["mlflow_task_adopted"] == task["id"]
    assert link_tags(run) == {
        "task_id": task["id"],
        "task_url": task_page(own_server, task),
        "state": "synced",
    }
    assert section(task, "MLflow") == run.data.params
    held = scalars(own_server, task["id"])
    assert held.pop(("own/series", 1))[0] == 7
    assert held == sdk_place.points(run.info.run_id)
    assert "mlflow" in task["tags"]


def test_the_console_of_an_adopted_task_is_the_sdks(sdk_place: Place, own_server: ClearMLServer) -> None:
    """No line is there twice."""
    assert sdk_place.run(BEFORE).code == 0
    (task,) = own_server.tasks
    assert own_server.console(task["id"]).splitlines().count("trained") == 1


def test_the_sdk_reports_a_failure_of_an_adopted_task(sdk_place: Place, own_server: ClearMLServer) -> None:
    done = sdk_place.run(BEFORE + "raise ValueError('late')\n")
    assert done.code == 1
    (task,) = own_server.tasks
    assert task["status"] == "failed"


@pytest.mark.parametrize("script", [BEFORE, AFTER], ids=["before", "after"])
def test_a_script_that_dies_leaves_no_running_task(sdk_place: Place, own_server: ClearMLServer, script: str) -> None:
    """The SDK cannot report it, and ClearML would stop the Task after two hours."""
    done = sdk_place.run(script.replace('print("trained")', "import os; os.kill(os.getpid(), 9)"))
    assert done.code == -9
    run = sdk_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert (task["status"], task["name"]) == ("stopped", "own task")
    causes = "signal SIGKILL", "a signal or os._exit"  # the second one if its parent was the first to learn that
    assert task["status_reason"] in [f"the process died with the run still open ({cause})" for cause in causes]
    assert len(scalars(own_server, task["id"])) >= 50


def test_a_child_that_dies_does_not_end_the_scripts_task(sdk_place: Place, own_server: ClearMLServer) -> None:
    """The Task goes on with the script."""
    script = f"""
import multiprocessing, os
from clearml import Task
import mlflow
{INIT}

def train():
    mlflow.start_run(run_name="child")
    mlflow.log_metric("loss", 1.0)
    os.kill(os.getpid(), 9)

child = multiprocessing.get_context("fork").Process(target=train)
child.start()
child.join()
task.get_logger().report_scalar("own", "series", 7, 1)
"""
    done = sdk_place.run(script)
    assert done.code == 0, done.stderr
    assert sdk_place.the_run().info.status == "RUNNING"
    wait_for(lambda: not sdk_place.workers())
    (task,) = [task for task in own_server.tasks if task["name"] == "own task"]
    assert task["status"] == "completed"
    assert task["id"] not in [call.body["task"] for call in own_server.requests if call.endpoint == "tasks.stopped"]


def test_only_one_run_takes_the_scripts_task(sdk_place: Place, own_server: ClearMLServer) -> None:
    """Further runs, and nested ones, have Tasks of their own."""
    script = f"""
from clearml import Task
import mlflow
{INIT}
with mlflow.start_run(run_name="first"):
    mlflow.log_metric("loss", 1.0)
    with mlflow.start_run(run_name="nested", nested=True):
        mlflow.log_metric("loss", 2.0)
with mlflow.start_run(run_name="second"):
    mlflow.log_metric("loss", 3.0)
"""
    done = sdk_place.run(script)
    assert done.code == 0, done.stderr
    tasks = {properties(task)["mlflow_run_id"]: task for task in own_server.tasks}
    assert len(own_server.tasks) == 3
    by_name = {run.info.run_name: tasks[run.info.run_id] for run in sdk_place.mlflow_runs()}
    assert by_name["first"]["name"] == "own task"
    assert by_name["nested"]["name"] == "nested"
    assert by_name["nested"]["parent"] == by_name["first"]["id"]
    assert by_name["second"]["name"] == "second"
    assert {task["status"] for task in by_name.values()} == {"completed"}


@pytest.mark.parametrize("ending", ["", "raise ValueError('bad')"], ids=["well", "badly"])
def test_the_task_that_an_agent_runs_is_used(own_place: Place, own_server: ClearMLServer, ending: str) -> None:
    """`CLEARML_TASK_ID`: the run's data goes there; status and console are the agent's and stay untouched."""
    api = requests.Session()
    api.auth = (own_server.credentials.access_key, own_server.credentials.secret_key)

    def call(endpoint: str, **body: object) -> dict[str, dict[str, str]]:
        answer = api.post(f"{own_server.api_url}/{endpoint}", json=body, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    task_id = call("tasks.create", name="a clone", type="training", script={"diff": "kept"})["data"]["id"]
    call("tasks.started", task=task_id)
    own_server.clear_requests()
    script = f"import mlflow\nwith mlflow.start_run(run_name='remote'):\n{TRAIN}\n    {ending}\n"
    done = own_place.run(script, CLEARML_TASK_ID=task_id, CLEARML_LOG_TASK_TO_BACKEND="0")
    assert done.code == (1 if ending else 0)
    run = own_place.the_run()
    (task,) = own_server.tasks
    assert task["id"] == task_id
    assert task["status"] == "in_progress"
    assert task["name"] == "a clone"
    assert task["script"]["diff"] == "kept"
    assert own_server.console(task_id) == ""
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert section(task, "MLflow") == {"lr": "0.1", "depth": "3"}
    assert scalars(own_server, task_id) == own_place.points(run.info.run_id)
    assert link_tags(run)["task_id"] == task_id
    assert link_tags(run)["state"] == "synced"
    if not ending:
        later = {name: own_place.command(*words) for name, words in AFTERWARDS.items()}
        assert {name: done.code for name, done in later.items()} == dict.fromkeys(AFTERWARDS, 0), later
        assert " 1" in later["sync"].stdout.split("unchanged")[-1]
        (task,) = own_server.tasks
        assert (task["status"], task["name"]) == ("in_progress", "a clone")
    changed = {request.endpoint for request in own_server.requests}
    assert not changed & {"tasks.completed", "tasks.failed", "tasks.stopped", "tasks.started", "tasks.create"}
