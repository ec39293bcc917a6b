"""Several runs in one process, in sequence, inside each other, side by side, and again: each has its own Task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, scalars, section, task_page

SCRIPT = """
import threading
import mlflow

for number in range(3):
    with mlflow.start_run(run_name=f"sequence {number}"):
        mlflow.log_param("number", number)
        mlflow.log_metric("loss", number, step=number)
        print("in sequence", number)

with mlflow.start_run(run_name="parent"):
    mlflow.log_metric("loss", 10)
    with mlflow.start_run(run_name="child", nested=True):
        mlflow.log_metric("loss", 11)
        with mlflow.start_run(run_name="grandchild", nested=True):
            mlflow.log_metric("loss", 12)
    mlflow.log_metric("loss", 13, step=1)

def train(name):
    with mlflow.start_run(run_name=name):
        for step in range(20):
            mlflow.log_metric(name, step, step=step)

threads = [threading.Thread(target=train, args=(f"thread {n}",)) for n in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

with mlflow.start_run(run_name="again") as again:
    mlflow.log_metric("loss", 1, step=1)
    mlflow.log_param("first", 1)
with mlflow.start_run(run_id=again.info.run_id):
    mlflow.log_metric("loss", 2, step=2)
    mlflow.log_param("second", 2)

mlflow.start_run(run_name="explicit")
mlflow.log_metric("loss", 5)
mlflow.end_run()
mlflow.start_run(run_name="killed")
mlflow.end_run("KILLED")
mlflow.start_run(run_name="never ended")
mlflow.log_metric("loss", 6)
"""


@pytest.fixture(scope="module")
def place(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    place = new_place(server)
    done = place.run(SCRIPT, fresh=True)
    assert done.code == 0, done.stderr
    return place


@pytest.fixture
def task(place: Place, server: ClearMLServer) -> Callable[[str], dict[str, Any]]:
    return lambda name: ended(server, place.run_named(name).info.run_id)


def assert_same_points(place: Place, server: ClearMLServer, task: dict[str, Any], name: str) -> None:
    held = scalars(server, task["id"])
    assert held
    assert held == place.points(place.run_named(name).info.run_id)


@pytest.mark.core
def test_each_run_has_exactly_one_task(place: Place, server: ClearMLServer) -> None:
    """One Task per run, and each run's tag names its own."""
    runs = place.mlflow_runs()
    assert len(runs) == 12
    tasks = {ended(server, run.info.run_id)["id"] for run in runs}
    assert len(tasks) == 12
    assert {link_tags(run)["task_id"] for run in runs} == tasks
    assert {link_tags(run)["state"] for run in runs} == {"synced"}


@pytest.mark.parametrize("number", range(3))
def test_runs_in_sequence_hold_their_own_data(place: Place, server: ClearMLServer, task: Any, number: int) -> None:
    of_run = task(f"sequence {number}")
    assert of_run["status"] == "completed"
    assert section(of_run, "MLflow") == {"number": str(number)}
    assert_same_points(place, server, of_run, f"sequence {number}")
    lines = [line for line in server.console(of_run["id"]).splitlines() if line.startswith("in sequence")]
    assert lines == [f"in sequence {number}"]


@pytest.mark.core
def test_nested_runs_have_the_outer_runs_task_as_parent(place: Place, server: ClearMLServer, task: Any) -> None:
    parent, child, grandchild = task("parent"), task("child"), task("grandchild")
    assert child["parent"] == parent["id"]
    assert grandchild["parent"] == child["id"]
    assert not parent.get("parent")
    for name, of_run in (("parent", parent), ("child", child), ("grandchild", grandchild)):
        assert of_run["status"] == "completed"
        assert_same_points(place, server, of_run, name)


@pytest.mark.parametrize("name", ["thread 0", "thread 1"])
def test_runs_in_threads_at_once_do_not_mix(place: Place, server: ClearMLServer, task: Any, name: str) -> None:
    of_run = task(name)
    assert_same_points(place, server, of_run, name)
    assert set(server.scalars(of_run["id"])) - {"Summary"} == {name}
    assert len(scalars(server, of_run["id"])) == 20


@pytest.mark.core
def test_a_resumed_run_goes_on_in_its_task(place: Place, server: ClearMLServer, task: Any) -> None:
    """`start_run(run_id=…)`: both parts are in the one Task, iterations as logged."""
    of_run = task("again")
    assert of_run["status"] == "completed"
    assert section(of_run, "MLflow") == {"first": "1", "second": "2"}
    assert_same_points(place, server, of_run, "again")


@pytest.mark.core
def test_a_run_that_another_process_resumes_goes_on_in_its_task(place: Place, server: ClearMLServer) -> None:
    """No second Task, and the first part stays."""
    run_id = place.run_named("explicit").info.run_id
    before = ended(server, run_id)
    script = f"""
        import mlflow
        with mlflow.start_run(run_id="{run_id}"):
            mlflow.log_metric("loss", 55, step=3)
            mlflow.log_param("later", "yes")
            print("resumed elsewhere")
        """
    done = place.run(script, name="again.py")
    assert done.code == 0, done.stderr
    after = ended(server, run_id)
    assert after["id"] == before["id"]
    assert after["status"] == "completed"
    assert section(after, "MLflow")["later"] == "yes"
    assert_same_points(place, server, after, "explicit")
    assert link_tags(place.run_named("explicit")) == link_tags(place.run_named("sequence 0")) | {
        "task_id": after["id"],
        "task_url": task_page(server, after),
    }


@pytest.mark.core
def test_killed_becomes_stopped(task: Any) -> None:
    assert task("killed")["status"] == "stopped"


def test_a_run_that_mlflow_ends_at_exit_is_completed(place: Place, task: Any) -> None:
    assert place.run_named("never ended").info.status == "FINISHED"
    assert task("never ended")["status"] == "completed"
