"""Only data that the server always refuses is left out: the run's other data, and its end, reach the Task."""

from __future__ import annotations

import pytest
import requests

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags, scalars, section
from tests.end_to_end.processes import AT_ONCE_S, PATIENCE_S, wait_for
from tests.problems import OF_FAULTS

pytestmark = pytest.mark.may_report(OF_FAULTS)

SCRIPT = """
import argparse, mlflow, time
with mlflow.start_run(run_name="the run", description="a note") as run:
    mlflow.log_param("first", 1)
    client = mlflow.tracking.MlflowClient()
    while "clearml.task_id" not in client.get_run(run.info.run_id).data.tags:  # the Task is made without what follows
        time.sleep(0.1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--alpha")
    parser.add_argument("--beta")
    parser.parse_args()  # the Task has them unread, in one piece
    params = [mlflow.entities.Param(f"p{number}", str(number)) for number in range(20)]
    # What is refused alone is left out: two of each, whatever the requests that they travel in.
    tags = [mlflow.entities.RunTag("color", "red"), mlflow.entities.RunTag("shape", "round")]
    client.log_batch(run.info.run_id, params=params, tags=tags)
    mlflow.log_text("text", "notes.txt")
    for step in range(50):
        mlflow.log_metrics({"loss": 1 / (step + 1), "odd": float("nan")}, step=step)
    print("some text")
"""
REFUSED = ["tasks.create", "tasks.edit_hyper_params", "tasks.edit_configuration", "tasks.add_or_update_artifacts"]


@pytest.mark.parametrize("endpoint", REFUSED)
def test_one_refusal_costs_nothing(own_place: Place, own_server: ClearMLServer, endpoint: str) -> None:
    """A batch that is refused is sent again in parts."""
    own_server.faults.add(Fault(endpoint, times=1, status=400))
    done = own_place.run(SCRIPT, "--alpha", "0.5", "--beta", "2")
    assert done.code == 0, done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert (task["name"], task["comment"]) == ("the run", "a note")
    assert (task["script"]["entry_point"], section(task, "Args")) == ("train.py", {"alpha": "0.5", "beta": "2"})
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    assert "some text" in own_server.console(task["id"])
    assert section(task, "MLflow tags")["color"] == "red"
    if endpoint in ("tasks.create", "tasks.edit_hyper_params"):
        assert section(task, "MLflow") == run.data.params
        assert [artifact["key"] for artifact in task["execution"]["artifacts"]] == ["notes.txt"]
    wait_for(lambda: link_tags(own_place.the_run())["state"] == "synced")


def test_only_refused_data_is_missing(own_place: Place, own_server: ClearMLServer) -> None:
    for endpoint in REFUSED[1:]:
        own_server.faults.add(Fault(endpoint, status=413))
    done = own_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    assert done.seconds < AT_ONCE_S, "it does not wait for what is refused"
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    assert "ClearML refuses 'p7' of section MLflow" in (own_place.home / "worker.log").read_text()


POISON = """
import pathlib, time, mlflow
poison = "poi" + "son"  # the script itself goes to the Task, and is not to be refused
with mlflow.start_run(run_name="refused in part"):
    mlflow.log_params({f"p{n}": n for n in range(20)} | {"bad": poison})
    print("begun", flush=True)
    time.sleep(3)
    mlflow.log_params({f"q{n}": n for n in range(20)} | {"worse": poison})
    for step in range(50):
        mlflow.log_metric("loss", step, step=step)
    mlflow.log_metric(poison, 1.0)
    mlflow.set_tags({"stage": "test", "mood": poison})
    mlflow.set_tag("mlflow.note.content", poison)
    mlflow.log_text("hello", "hello.txt")
    mlflow.log_text("hello", poison + ".txt")
    print("ended")
"""


@pytest.mark.parametrize("status", [400, 413])
def test_one_bad_item_does_not_block_the_others(own_place: Place, own_server: ClearMLServer, status: int) -> None:
    """A parameter, tag, note, point or artifact that is refused is missing, and nothing else."""
    for endpoint in ("events.*", "tasks.create", "tasks.edit", "tasks.edit_hyper_params", REFUSED[-1]):
        own_server.faults.add(Fault(endpoint, containing="poison", status=status))
    done = own_place.run(POISON)
    assert done.code == 0
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    expected = {key: value for key, value in run.data.params.items() if value != "poison"}
    assert section(task, "MLflow") == expected
    assert section(task, "MLflow tags")["stage"] == "test"
    assert "mood" not in section(task, "MLflow tags")
    points = own_place.points(run.info.run_id)
    assert scalars(own_server, task["id"]) == {place: point for place, point in points.items() if place[0] != "poison"}
    lines = own_server.console(task["id"]).splitlines()
    assert [line for line in lines if line in ("begun", "ended")] == ["begun", "ended"]
    artifacts = [artifact["key"] for artifact in task["execution"]["artifacts"]]
    assert "hello.txt" in artifacts
    assert "poison.txt" not in artifacts
    wait_for(lambda: link_tags(own_place.the_run())["state"] == "synced")
    assert own_place.journals() == []
    refused = task["configuration"]["refused by ClearML"]["value"]
    for what in ("poison/poison", "'bad'", "'worse'", "'mood'", "'poison.txt'"):
        assert what in refused


@pytest.mark.parametrize("pause_s", ["0.3", "0"])
def test_a_task_that_is_deleted_is_made_again(own_place: Place, own_server: ClearMLServer, pause_s: str) -> None:
    """The run goes on, or ends at once, and so does its Task: a new one, complete from MLflow's store."""
    script = """
        import pathlib, sys, time, mlflow
        with mlflow.start_run():
            mlflow.log_params({"lr": 0.1})
            for step in range(20):
                mlflow.log_metric("loss", step, step=step)
                print("step", step, flush=True)
                time.sleep(float(sys.argv[1]))
                while step == 9 and not pathlib.Path("go").exists():
                    time.sleep(0.05)
        """
    started = own_place.start(script, pause_s)
    first = wait_for(lambda: own_server.tasks and own_server.calls("events.add_batch") and own_server.tasks[0]["id"])
    requests.post(
        f"{own_server.api_url}/tasks.delete",
        json={"task": first, "force": True},
        auth=(own_server.credentials.access_key, own_server.credentials.secret_key),
        timeout=PATIENCE_S,
    ).raise_for_status()
    (own_place.folder / "go").touch()
    assert started.finish().code == 0
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["id"] != first
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    assert section(task, "MLflow") == {"lr": "0.1"}
    lines = own_server.console(task["id"]).splitlines()
    assert [line for line in lines if line.startswith("step ")] == [f"step {n}" for n in range(20)]
