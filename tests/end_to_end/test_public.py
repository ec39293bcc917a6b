"""Functions that a script may call: the Task of a run, and whether the data logged so far is in ClearML."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags, scalars, task_of
from tests.end_to_end.processes import wait_for
from tests.problems import OF_FAULTS

SCRIPT = """
    import os, sys, time
    from autoinstrument import is_active, task_of, wait_delivered

    def say(*words):
        print(*words, flush=True)

    say(is_active())
    import mlflow
    say(is_active(), task_of("none", timeout=0))
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_metrics({"loss": 0.5}, step=3)
        mlflow.log_param("lr", 0.1)
        task = task_of()
        say(task == task_of(run) == task_of(run.info.run_id), *task)
        say(wait_delivered())
        open("delivered", "w").close()
        while not os.path.exists("seen"):
            time.sleep(0.01)
"""


def test_a_script_waits_until_its_open_run_is_delivered(place: Place, server: ClearMLServer) -> None:
    started = place.start(SCRIPT)
    wait_for(lambda: (place.folder / "delivered").exists())
    task = task_of(server, place.the_run().info.run_id)
    assert task["status"] == "in_progress"
    assert scalars(server, task["id"])["loss", 3][0] == 0.5
    assert task["hyperparams"]["MLflow"]["lr"]["value"] == "0.1"
    (place.folder / "seen").touch()
    done = started.finish()
    assert done.code == 0, done.stderr
    tags = link_tags(place.the_run())
    assert done.stdout.splitlines() == [
        "True", "True None", f"True {tags['task_id']} {tags['task_url']}", "True",
    ]  # fmt: skip


@pytest.mark.may_report(OF_FAULTS)
def test_a_server_that_is_away(own_place: Place, own_server: ClearMLServer) -> None:
    """Waiting ends after the time-out; nothing is raised."""
    own_server.close()
    script = """
        import mlflow
        from autoinstrument import task_of, wait_delivered
        with mlflow.start_run():
            mlflow.log_metric("loss", 1.0)
            print(task_of(timeout=0.2), wait_delivered(timeout=0.2))
        """
    done = own_place.run(script, AUTOINSTRUMENT_EXIT_TIMEOUT="1")
    assert (done.code, done.stdout) == (0, "None False\n")


def test_the_agent_is_off(place: Place) -> None:
    script = """
        import mlflow
        from autoinstrument import is_active, task_of, wait_delivered
        with mlflow.start_run() as run:
            print(is_active(), task_of(run), wait_delivered())
        """
    done = place.run(script, agent=False)
    assert (done.code, done.stdout) == (0, "False None False\n")
