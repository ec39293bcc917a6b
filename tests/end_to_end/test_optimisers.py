"""Optimisers and triggers of ClearML's SDK start clones of a run's Task: each is a linked MLflow run."""

from __future__ import annotations

import os
import signal

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags
from tests.end_to_end.processes import wait_for
from tests.end_to_end.remote import Remote

TRAINING = """
def train(lr):
    import time, mlflow
    with mlflow.start_run():
        mlflow.log_param("lr", lr)
        mlflow.log_metric("val/loss", 1 - lr, step=1)
        mlflow.log_metric("accuracy", lr)
        if lr > 0.8:  # until the optimiser stops it
            mlflow.log_metric("val/loss", 1 - lr, step=100)
            time.sleep(300)
"""
ARGPARSE = f"""{TRAINING}
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
train(parser.parse_args().lr)
"""
CLICK = f"""{TRAINING}
import click
@click.command()
@click.option("--lr", type=float, default=0.1)
def main(lr):
    train(lr)
main()
"""
HYDRA = f"""{TRAINING}
import hydra
@hydra.main(config_path=".", config_name="config", version_base=None)
def main(config):
    train(config.optimizer.lr)
main()
"""

SEARCH = """
import sys
import mlflow
from clearml import Task
from clearml.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer, RandomSearch
from clearml.automation.job import LocalClearmlJob

base, strategy, parameter, title, series, sign, where, *values = sys.argv[1:]
if strategy == "OptimizerOptuna":
    from clearml.automation.optuna import OptimizerOptuna
budget = {}
if strategy == "OptimizerBOHB":
    from clearml.automation.hpbandster import OptimizerBOHB
    budget = {"min_iteration_per_job": 50}
Task.init(
    project_name="search", task_name="search", task_type=Task.TaskTypes.optimizer, reuse_last_task_id=False,
    auto_connect_frameworks=False, auto_resource_monitoring=False,
)
optimizer = HyperParameterOptimizer(
    base_task_id=base,
    hyper_parameters=[DiscreteParameterRange(parameter, values=list(map(float, values)))],
    objective_metric_title=title,
    objective_metric_series=series,
    objective_metric_sign=sign,
    optimizer_class=globals()[strategy],
    execution_queue="default",
    max_number_of_concurrent_tasks=1,
    max_iteration_per_job=50,
    total_max_jobs=len(values),
    pool_period_min=0.02,
    save_top_k_tasks_only=-1,
    **budget,
)
if where == "here":
    optimizer.set_default_job_class(LocalClearmlJob)
optimizer.set_report_period(0.02)  # minutes; `stop` waits for it
with mlflow.start_run(run_name="search"):
    optimizer.start()
    optimizer.wait(timeout=5)
    (best,) = optimizer.get_top_experiments_details(top_k=1)
    optimizer.stop()
print("BEST", best["task_id"])
"""


@pytest.mark.parametrize(
    ("name", "script", "search"),
    [
        ("argparse", ARGPARSE, ["GridSearch", "Args/lr", "val", "loss", "min", "agent", "0.3", "0.6"]),
        ("hydra", HYDRA, ["OptimizerOptuna", "Hydra/optimizer.lr", "val", "loss", "min", "agent", "0.9"]),
    ],
)
def test_an_optimiser(remote: Remote, name: str, script: str, search: list[str]) -> None:
    """Its jobs are nested below its own run, and the best one is tagged; jobs stopped early are KILLED in MLflow."""
    pytest.importorskip(name)
    pytest.importorskip("optuna")
    place, server = remote.place, remote.server
    remote.commit({f"{name}_.py": script, "config.yaml": "optimizer:\n  lr: 0.1\n", ".gitignore": "outputs\n"})
    origin, source = remote.train(command=[f"{name}_.py"], experiment=name)
    remote.start_daemon()
    settings = remote.home / "sdk.conf"  # the reporter's own process takes 12 s to close
    settings.write_text("sdk { development { report_use_subprocess: false, vcs_repo_detect_async: false } }")
    variables = {"MLFLOW_EXPERIMENT_NAME": f"search {name}", "CLEARML_CONFIG_FILE": str(settings)}
    done = place.start(SEARCH, source["id"], *search, name="search.py", **variables).finish(600)
    (controller,) = remote.runs(f"search {name}")
    children = f"tags.`mlflow.parentRunId` = '{controller.info.run_id}'"
    jobs = place.client.search_runs([origin.info.experiment_id], children, order_by=["params.lr"])
    assert [run.data.params["lr"] for run in jobs] == search[6:], done.stderr
    assert {link_tags(run)["cloned_from"] for run in jobs} == {source["id"]}
    (best_id,) = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("BEST")]
    assert link_tags(jobs[-1])["task_id"] == best_id
    optimiser = link_tags(controller)["task_id"]
    assert [link_tags(run).get("best_of") for run in jobs] == [None] * (len(jobs) - 1) + [optimiser], done.stderr
    assert [task["id"] for task in server.tasks if "best" in task["tags"] and task["parent"] == optimiser] == [best_id]
    if search[6:] == ["0.9"]:
        wait_for(lambda: place.mlflow_run(jobs[0].info.run_id).info.status == "KILLED")
        assert server.task(best_id)["status"] == "stopped"


def test_an_optimiser_on_this_machine(sdk_place: Place, own_server: ClearMLServer) -> None:
    sdk_place.write("clicked.py", CLICK)
    done = sdk_place.run("", command=["clicked.py"])
    assert done.code == 0, done.stderr
    base = ended(own_server, sdk_place.the_run().info.run_id)
    search = ["RandomSearch", "Args/lr", "Summary", "accuracy", "min", "here", "0.2", "0.4"]
    done = sdk_place.run(SEARCH, base["id"], *search, name="search.py")
    controller = sdk_place.run_named("search").info.run_id
    jobs = [run for run in sdk_place.mlflow_runs() if run.data.tags.get("mlflow.parentRunId") == controller]
    best = {run.data.params["lr"]: "best_of" in link_tags(run) for run in jobs}
    assert best == {"0.2": True, "0.4": False}, done.stderr
    assert {own_server.task(link_tags(run)["task_id"])["status"] for run in jobs} == {"completed"}


def test_bohb(sdk_place: Place, own_server: ClearMLServer) -> None:
    """Where the variable `BOHB_PACKAGES` names a folder of packages for it: hpbandster needs NumPy below 2."""
    if not (packages := os.environ.get("BOHB_PACKAGES")):
        pytest.skip('no folder of packages: pip install --target FOLDER hpbandster "ConfigSpace<1" "numpy<2"')
    sdk_place.write("clicked.py", CLICK)
    done = sdk_place.run("", command=["clicked.py"])
    assert done.code == 0, done.stderr
    base = ended(own_server, sdk_place.the_run().info.run_id)
    search = ["OptimizerBOHB", "Args/lr", "val", "loss", "min", "here", "0.2", "0.4"]
    done = sdk_place.run(SEARCH, base["id"], *search, name="search.py", fresh=True, PYTHONPATH=packages)
    assert done.code == 0, done.stderr
    controller = sdk_place.run_named("search").info.run_id
    jobs = [run for run in sdk_place.mlflow_runs() if run.data.tags.get("mlflow.parentRunId") == controller]
    assert {run.data.params["lr"] for run in jobs} <= {"0.2", "0.4"}, done.stdout + done.stderr
    assert jobs, done.stdout + done.stderr
    assert [link_tags(run)["task_id"] for run in jobs if "best_of" in link_tags(run)] == done.stdout.split()[-1:]


TRIGGER = """
import sys
from clearml.automation import TriggerScheduler

triggers = TriggerScheduler(pooling_frequency_minutes=0.02)
triggers.add_model_trigger(
    name="retrain", schedule_task_id=sys.argv[1], schedule_queue="default", trigger_on_publish=True,
    task_parameters={"Args/model": "${model.id}"},
)
triggers.start()
"""
MODEL = """
import argparse, sys
import mlflow
from mlflow.pyfunc import PythonModel

class Constant(PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="")
args = parser.parse_args()
with mlflow.start_run():
    mlflow.log_param("model", args.model)
    if not args.model:
        mlflow.pyfunc.log_model(name="constant", python_model=Constant(), pip_requirements=["mlflow"])
"""


def test_a_published_model_starts_a_training(remote: Remote) -> None:
    remote.commit({"model.py": MODEL})
    origin, source = remote.train(command=["model.py"], experiment="triggered")
    (model,) = source["models"]["output"]
    remote.start_daemon()
    scheduler = remote.place.start(TRIGGER, source["id"], name="trigger.py", agent=False)
    wait_for(lambda: any("_or_" in str(request.body) for request in remote.server.calls("models.get_all")))
    remote.call("models.set_ready", model=model["model"])
    clone = wait_for(lambda: [task for task in remote.server.tasks if "retrain" in task["tags"]])[0]
    assert remote.ended(clone["id"])["status"] == "completed"
    run = remote.run(clone["id"])
    assert run.data.params == {"model": model["model"]}
    assert link_tags(run)["cloned_from_run"] == origin.info.run_id
    assert "mlflow.parentRunId" not in run.data.tags, "the Task that was cloned is its origin, and not above it"
    scheduler.kill(signal.SIGKILL)


SCHEDULE = """
import mlflow
from clearml.automation import TaskScheduler

def report():
    with mlflow.start_run(run_name="report"):
        mlflow.log_metric("runs", 1)

scheduler = TaskScheduler(sync_frequency_minutes=0.05)
scheduler.add_task(
    name="nightly", schedule_task_id="{task}", queue="default", hour=22, day=1, execute_immediately=True,
    task_parameters={{"Args/lr": 0.3}}, single_instance=True,
)
scheduler.add_task(name="report", schedule_function=report, hour=23, day=1, execute_immediately=True)
scheduler.start_remotely(queue="services")
"""


@pytest.mark.slow
def test_a_schedule_in_the_services_queue(remote: Remote) -> None:
    """`TaskScheduler` as a service: each training that it queues is a run, and so is each function that it calls."""
    remote.commit({"argparse_.py": ARGPARSE})
    origin, source = remote.train(command=["argparse_.py"], experiment="scheduled")
    remote.start_daemon()
    remote.commit({"schedule.py": SCHEDULE.format(task=source["id"])})
    settings = remote.home / "sdk.conf"  # the reporter's own process takes 12 s to close
    settings.write_text("sdk { development { report_use_subprocess: false, vcs_repo_detect_async: false } }")
    sdk = {"CLEARML_CONFIG_FILE": str(settings)}
    on = {"AUTOINSTRUMENT_ENABLED": "1", "MLFLOW_TRACKING_URI": remote.place.uri, "MLFLOW_EXPERIMENT_NAME": "schedule"}
    remote.start_another("services", "--services-mode", **on, **sdk)
    done = remote.place.run("", command=["schedule.py"], **sdk)
    assert done.code == 0, done.stderr
    (service,) = [task for task in remote.server.tasks if task["type"] == "service"]
    clone = wait_for(lambda: [task for task in remote.server.tasks if task.get("parent") == source["id"]])[0]
    assert remote.has_ended(clone["id"])["status"] == "completed", remote.server.console(service["id"])
    run = remote.run(clone["id"])
    assert run.data.params["lr"] == "0.3"
    assert link_tags(run)["cloned_from_run"] == origin.info.run_id
    assert "mlflow.parentRunId" not in run.data.tags
    (report,) = wait_for(lambda: remote.runs("schedule"))
    wait_for(lambda: link_tags(remote.place.mlflow_run(report.info.run_id)).get("state") == "synced")
    assert link_tags(remote.place.mlflow_run(report.info.run_id))["task_id"] == service["id"]
    remote.call("tasks.stop", task=service["id"])
    assert remote.has_ended(service["id"])["status"] == "stopped"
