"""Pipelines of ClearML's SDK whose steps are Tasks of runs, or functions that log to MLflow."""

from __future__ import annotations

import pytest
from mlflow.entities import Run

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties
from tests.end_to_end.processes import wait_for
from tests.end_to_end.remote import Remote

pytestmark = pytest.mark.slow

TRAIN = """
import argparse, pathlib, time
import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--fails-without", default="")
parser.add_argument("--sleep", type=float, default=0)
args = parser.parse_args()
print("training with", args.lr)
with mlflow.start_run(run_name="train"):
    mlflow.log_param("lr", args.lr)
    mlflow.log_metric("loss", 1 - args.lr, step=0)
    if args.fails_without and not pathlib.Path(args.fails_without).exists():
        pathlib.Path(args.fails_without).touch()
        raise ValueError("the first attempt")
    time.sleep(args.sleep)
"""

HEAD = """
import sys
import autoinstrument, mlflow
from clearml import PipelineController

base, scratch = sys.argv[1], sys.argv[-1]

def prepare(size):
    import mlflow
    with mlflow.start_run(run_name="prepare"):
        mlflow.log_metric("rows", 10 * size)
    return 10 * size

pipe = PipelineController(name="pipe", project="pipelines", version="1.0", pool_frequency=0.04)
"""

BEGIN = """
with mlflow.start_run(run_name="controller"):
    autoinstrument.wait_delivered(240)  # else a short step may begin before ClearML knows of this run
"""

LOCALLY = f"""{HEAD}
pipe.add_step("trained", base_task_id=base, parameter_override={{"Args/lr": 0.3, "Args/fails_without": scratch}},
              retry_on_failure=1)
{BEGIN}
    pipe.start_locally(run_pipeline_steps_locally=True)
"""

ON_AGENTS = f"""{HEAD}
pipe.set_default_execution_queue("default")
pipe.add_function_step("prepared", prepare, function_kwargs={{"size": 3}}, function_return=["rows"])
pipe.add_step("cached", base_task_id=base, parents=["prepared"], cache_executed_step=True,
              parameter_override={{"Args/lr": 0.2}})
pipe.add_step("trained", base_task_id=base, parents=["cached"], parameter_override={{"Args/lr": 0.3}})
{BEGIN}
    pipe.start_locally()
"""


def above(run: Run) -> str:
    """Return the id of the run below which a run is nested, "" for none."""
    return str(run.data.tags.get("mlflow.parentRunId", ""))


def test_steps_on_agents(remote: Remote) -> None:
    """Each step's run is linked and nested below the controller's; a cached step makes no new run."""
    place, server = remote.place, remote.server
    remote.commit({"step.py": TRAIN})
    origin, source = remote.train(command=["step.py"], experiment="base")
    # A function's Task carries no settings: they are the machine's.
    remote.variables = {
        "AUTOINSTRUMENT_ENABLED": "1", "MLFLOW_TRACKING_URI": place.uri, "MLFLOW_EXPERIMENT_NAME": "steps",
    }  # fmt: skip
    remote.start_daemon()
    settings = remote.home / "sdk.conf"  # the reporter's own process takes 12 s to close
    settings.write_text("sdk { development { report_use_subprocess: false, vcs_repo_detect_async: false } }")
    variables = {"CLEARML_CONFIG_FILE": str(settings)}
    steps: dict[str, list[Run]] = {}
    for name in ("first", "second"):
        done = place.run(ON_AGENTS, source["id"], name="pipe.py", MLFLOW_EXPERIMENT_NAME=name, **variables)
        assert done.code == 0, done.stderr
        (controller,) = remote.runs(name)
        steps[name] = [run for run in place.mlflow_runs() if above(run) == controller.info.run_id]
        head = ended(server, controller.info.run_id)
        assert head["status"] == "completed", done.stdout + done.stderr
        for run in steps[name]:
            task = server.task(link_tags(run)["task_id"])
            assert (task["parent"], task["status"], run.info.status) == (head["id"], "completed", "FINISHED")
            assert properties(task)["mlflow_parent_run"] == controller.info.run_id
    rates = {name: [run.data.params.get("lr") for run in runs] for name, runs in steps.items()}
    assert rates == {"first": [None, "0.2", "0.3"], "second": [None, "0.3"]}
    assert link_tags(steps["first"][1])["cloned_from_run"] == origin.info.run_id
    found = place.command("verify", *(run.info.run_id for run in steps["first"]))
    assert found.code == 0, found.stdout


def test_steps_on_this_machine(sdk_place: Place, own_server: ClearMLServer) -> None:
    """Without an agent, the console of a step whose script does not use ClearML is sent nevertheless."""
    sdk_place.write("step.py", TRAIN)
    done = sdk_place.run("", command=["step.py"])
    assert done.code == 0, done.stderr
    base = ended(own_server, sdk_place.the_run().info.run_id)
    done = sdk_place.run(LOCALLY, base["id"], str(sdk_place.root / "scratch"), name="pipe.py")
    assert done.code == 0, done.stderr
    controller = sdk_place.run_named("controller")
    assert ended(own_server, controller.info.run_id)["status"] == "completed", done.stdout + done.stderr
    attempts = [run for run in sdk_place.mlflow_runs() if above(run) == controller.info.run_id]
    assert [run.info.status for run in attempts] == ["FAILED", "FINISHED"]
    (task_id,) = {link_tags(run)["task_id"] for run in attempts}
    console = own_server.console(task_id)
    assert console.count("training with 0.3") == 2, console
    assert console.count("ValueError: the first attempt") == 1, console


QUEUED = """
import mlflow
from clearml import PipelineController

def prepare(size):
    import mlflow
    with mlflow.start_run(run_name="prepare"):
        mlflow.log_metric("rows", 10 * size)
    return 10 * size

pipe = PipelineController(name="pipe", project="pipelines", version="1.0", pool_frequency=0.04)
pipe.set_default_execution_queue("default")
pipe.add_function_step("prepared", prepare, function_kwargs={{"size": 3}}, function_return=["rows"])
pipe.add_step("trained", base_task_id="{task}", parents=["prepared"], parameter_override={{"Args/lr": 0.3}})
pipe.start(queue="services")  # the process ends here, and goes on under an agent
with mlflow.start_run(run_name="summary"):
    mlflow.log_metric("steps", 2)
"""


@pytest.mark.slow
def test_a_controller_in_the_services_queue(remote: Remote) -> None:
    """`start()`: the controller runs under an agent, too. Its run begins after the steps, and is above them."""
    remote.commit({"step.py": TRAIN})
    _, source = remote.train(command=["step.py"], experiment="of the step")
    remote.commit({"pipe.py": QUEUED.format(task=source["id"])})
    settings = remote.home / "sdk.conf"  # the reporter's own process takes 12 s to close
    settings.write_text("sdk { development { report_use_subprocess: false, vcs_repo_detect_async: false } }")
    # Neither the controller's Task nor that of a function carries settings: they are the machine's.
    remote.variables = {
        "AUTOINSTRUMENT_ENABLED": "1", "MLFLOW_TRACKING_URI": remote.place.uri, "MLFLOW_EXPERIMENT_NAME": "queued",
        "CLEARML_CONFIG_FILE": str(settings),
    }  # fmt: skip
    remote.start_another("services", "--services-mode")
    remote.start_daemon()
    done = remote.place.run("", command=["pipe.py"], CLEARML_CONFIG_FILE=str(settings))
    assert done.code == 0, done.stderr
    (head,) = [task for task in remote.server.tasks if task["type"] == "controller" and task["status"] != "completed"]
    assert remote.has_ended(head["id"])["status"] == "completed", remote.server.console(head["id"])
    summary = remote.run(head["id"])
    assert summary.data.metrics == {"steps": 2.0}
    wait_for(lambda: link_tags(remote.place.mlflow_run(summary.info.run_id)).get("state") == "synced")
    below = [run for run in remote.place.mlflow_runs() if above(run) == summary.info.run_id]
    assert {run.info.run_name for run in below} == {"prepare", "train"}


TOO_EARLY = """
import autoinstrument, mlflow
from clearml import PipelineController
from clearml.backend_api.session.client import APIClient

for name in ("default", "services"):
    APIClient().queues.create(name=name)
pipe = PipelineController(name="pipe", project="pipelines", version="1.0")
pipe.set_default_execution_queue("default")
pipe.add_function_step("step", lambda: 1, function_return=["one"])
with mlflow.start_run(run_name="too early"):
    mlflow.log_metric("before", 1)
    autoinstrument.wait_delivered(240)
    pipe.start(queue="services")
"""


def test_a_run_that_is_open_when_its_controller_moves_to_an_agent(sdk_place: Place, own_server: ClearMLServer) -> None:
    """It waits for `sync`: its Task is that of the run of the script that the agent will run."""
    done = sdk_place.run(TOO_EARLY, name="pipe.py")
    assert done.code == 0, done.stderr
    wait_for(lambda: link_tags(sdk_place.the_run()).get("state") == "pending")
    run = sdk_place.the_run()
    (task,) = own_server.tasks
    assert (run.info.status, task["status"]) == ("KILLED", "queued")
    assert sdk_place.command("sync", "--run", run.info.run_id).code == 0
    verified = sdk_place.command("verify", run.info.run_id)
    assert verified.code == 0, verified.stdout
    run = sdk_place.the_run()
    assert link_tags(run)["state"] == "synced"
    assert link_tags(run)["task_id"] != task["id"]
    assert own_server.task(task["id"])["status"] == "queued"
