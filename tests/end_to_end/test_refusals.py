"""What the server refuses for good is left out by itself: the run's other data, and its end, reach the Task."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags, scalars, section
from tests.end_to_end.processes import wait_for

SCRIPT = """
import mlflow, time
with mlflow.start_run(run_name="the run", description="a note") as run:
    mlflow.log_param("first", 1)
    time.sleep(1)
    mlflow.log_params({f"p{number}": number for number in range(20)})
    mlflow.set_tag("color", "red")
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
    done = own_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert (task["name"], task["comment"]) == ("the run", "a note")
    assert task["script"]["entry_point"] == "train.py"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    assert "some text" in own_server.console(task["id"])
    assert section(task, "MLflow tags")["color"] == "red"
    if endpoint in ("tasks.create", "tasks.edit_hyper_params"):
        assert section(task, "MLflow") == run.data.params
        assert [artifact["key"] for artifact in task["execution"]["artifacts"]] == ["notes.txt"]
    wait_for(lambda: link_tags(own_place.the_run())["state"] == "synced", 5)


def test_what_is_always_refused_is_all_that_is_missing(own_place: Place, own_server: ClearMLServer) -> None:
    for endpoint in REFUSED[1:]:
        own_server.faults.add(Fault(endpoint, status=400))
    done = own_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    assert done.seconds < 25
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    assert "ClearML refuses 'p7' of section MLflow" in (own_place.home / "worker.log").read_text()
