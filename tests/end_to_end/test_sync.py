"""`autoinstrument sync` makes the Tasks of runs that were recorded without a server."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, section, task_page
from tests.end_to_end.processes import wait_for

SCRIPT = """
import argparse, sys
import mlflow
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
lr = parser.parse_args().lr
with mlflow.start_run(run_name="offline", description="a note"):
    mlflow.log_params({"lr": lr, "depth": 3})
    for step in range(100):
        mlflow.log_metric("train/loss", 1 / (step + 1), step=step)
    mlflow.log_metric("odd", float("nan"))
    print("trained")
    print("a warning", file=sys.stderr)
"""

DEATH = """
mlflow.start_run(run_name="dead")
mlflow.log_metric("loss", 1)
import os, time
time.sleep(1)
os.kill(os.getpid(), 9)
"""


def bring_back(place: Place, server: ClearMLServer) -> None:
    """Start the server again when the worker has given up, so that it is `sync` that does the work."""
    wait_for(lambda: not place.workers())
    server.start()


def comparable(server: ClearMLServer, task: dict[str, Any]) -> dict[str, Any]:
    """Return all of a Task that does not depend on when and where its run was made."""
    lines = [line for line in server.console(task["id"]).splitlines() if "autoinstrument" not in line]
    return {
        "status": [task["status"], task.get("status_reason"), task.get("status_message")],
        "console": [line for line in lines if "mlflow.store" not in line],
        "params": section(task, "MLflow"),
        "arguments": section(task, "Args"),
        "script": task["script"],
        "properties": sorted(properties(task)),
        "curves": {at: value for at, (value, _) in scalars(server, task["id"]).items()},
        "configuration": sorted(task["configuration"]),
        "artifacts": [artifact["key"] for artifact in task["execution"]["artifacts"]],
        **{key: task.get(key) for key in ("name", "project", "tags", "system_tags", "type", "comment")},
    }


@pytest.mark.core
def test_a_pending_run_gets_the_task_that_it_would_have_had(own_place: Place, own_server: ClearMLServer) -> None:
    """The synced Task equals one that was mirrored live, field by field; the run has its links."""
    own_place.run(SCRIPT, "--lr", "0.1")
    live = ended(own_server, own_place.the_run().info.run_id)
    own_server.close()
    done = own_place.run(SCRIPT, "--lr", "0.1")
    assert done.code == 0
    bring_back(own_place, own_server)
    run_id = own_place.mlflow_runs()[-1].info.run_id
    assert len(own_server.tasks) == 1
    synced = own_place.command("sync")
    assert synced.code == 0, synced.stderr
    task = ended(own_server, run_id)
    assert comparable(own_server, task) == comparable(own_server, live)
    assert scalars(own_server, task["id"]) == own_place.points(run_id)
    assert link_tags(own_place.mlflow_run(run_id)) == {
        "task_id": task["id"],
        "task_url": task_page(own_server, task),
        "state": "synced",
    }
    assert own_place.journals() == []


@pytest.mark.core
def test_syncing_twice_changes_nothing(own_place: Place, own_server: ClearMLServer) -> None:
    own_server.close()
    own_place.run(SCRIPT)
    bring_back(own_place, own_server)
    assert own_place.command("sync").code == 0
    before = own_server.tasks, own_server.events(own_server.tasks[0]["id"]), repr(own_place.the_run().to_dictionary())
    own_server.clear_requests()
    again = own_place.command("sync")
    assert again.code == 0, again.stderr
    after = own_server.tasks, own_server.events(own_server.tasks[0]["id"]), repr(own_place.the_run().to_dictionary())
    assert after == before
    assert not [r for r in own_server.requests if not r.endpoint.endswith((".login", ".get_all", ".get_by_id"))]


def test_sync_without_a_server_keeps_the_journals(own_place: Place, own_server: ClearMLServer) -> None:
    """Exit code 1, one clear line, and the next sync finds everything."""
    own_server.close()
    own_place.run(SCRIPT)
    failed = own_place.command("sync")
    assert failed.code == 1
    assert "Traceback" not in failed.stderr
    assert own_place.journals()
    bring_back(own_place, own_server)
    assert own_place.command("sync").code == 0
    assert len(own_server.tasks) == 1
    assert own_place.journals() == []


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [
        ("    raise ValueError('lost')", "failed", "ValueError: lost"),
        ("sys.exit(3)", "failed", "3"),
        (DEATH, "stopped", "died"),
    ],
    ids=["exception", "exit code", "SIGKILL"],
)
def test_the_end_of_a_pending_run_is_not_forgotten(
    own_place: Place, own_server: ClearMLServer, ending: str, status: str, reason: str
) -> None:
    """The journal has the traceback, exit code or signal that MLflow does not know."""
    script = SCRIPT if ending.startswith("    ") or "dead" in ending else SCRIPT.replace("with mlflow", "if mlflow")
    own_server.close()
    own_place.run(script + ending + "\n")
    bring_back(own_place, own_server)
    assert own_place.command("sync").code == 0
    run = own_place.mlflow_runs()[-1]
    task = ended(own_server, run.info.run_id)
    assert task["status"] == status
    assert reason in task["status_reason"]


def test_a_server_that_does_not_come_back_leaves_the_rest_to_sync(own_place: Place, own_server: ClearMLServer) -> None:
    """Half of the run was live: sync completes that very Task."""
    script = """
        import pathlib, time, mlflow
        with mlflow.start_run():
            for step in range(100):
                mlflow.log_metric("loss", step, step=step)
                if step == 50:
                    time.sleep(3)
                    pathlib.Path("ready").write_text("now")
                    time.sleep(2)
                print("step", step)
        """
    started = own_place.start(script)
    wait_for((own_place.folder / "ready").exists)
    own_server.close()
    assert started.finish().code == 0
    bring_back(own_place, own_server)
    assert own_place.command("sync").code == 0
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert len(own_server.tasks) == 1
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
    lines = [line for line in own_server.console(task["id"]).splitlines() if line.startswith("step ")]
    assert lines == [f"step {n}" for n in range(100)]
    assert link_tags(run)["state"] == "synced"


def test_sync_prints_its_outcomes_as_json(own_place: Place, own_server: ClearMLServer) -> None:
    """`--json` is one JSON document on stdout."""
    own_server.close()
    own_place.run(SCRIPT)
    bring_back(own_place, own_server)
    done = own_place.command("sync", "--json")
    assert done.code == 0, done.stderr
    assert own_server.tasks[0]["id"] in json.dumps(json.loads(done.stdout))


def test_a_server_that_is_back_at_once_gets_the_run_from_the_worker(
    own_place: Place, own_server: ClearMLServer
) -> None:
    """The worker tries for a while after the script's end; whoever delivers in the end, the run has its links."""
    own_server.close()
    own_place.run(SCRIPT)
    own_server.start()
    wait_for(lambda: not own_place.workers())
    assert own_place.command("sync").code == 0
    task = ended(own_server, own_place.the_run().info.run_id)
    assert len(own_server.tasks) == 1
    assert link_tags(own_place.the_run())["state"] == "synced"
    assert link_tags(own_place.the_run())["task_id"] == task["id"]
    assert own_place.journals() == []


def test_sync_closes_the_task_if_every_process_died(own_place: Place, own_server: ClearMLServer) -> None:
    """A power failure, or a container's end, kills script and worker; the run is left alone only while they live."""
    script = """
        import time, mlflow
        mlflow.start_run(run_name="dead")
        print("training")
        for step in range(100):
            mlflow.log_metric("loss", step, step=step)
        time.sleep(600)
        """
    started = own_place.start(script)
    wait_for(lambda: own_server.tasks and own_server.scalars(own_server.tasks[0]["id"]))
    alive = own_place.command("sync")
    assert "dead: running: its process is still at work; left alone" in alive.stdout
    assert own_server.tasks[0]["status"] == "in_progress"
    for worker in own_place.workers():
        worker.kill()
    started.kill(9)
    started.finish()
    assert own_place.command("sync").code == 0
    (task,) = own_server.tasks
    assert (task["status"], "died" in task["status_reason"]) == ("stopped", True)
    assert scalars(own_server, task["id"]) == own_place.points(own_place.the_run().info.run_id)
    assert "training" in own_server.console(task["id"])
    assert link_tags(own_place.the_run())["state"] == "synced"
    assert own_place.journals() == []


def test_a_run_that_was_deleted_for_good_can_be_forgotten(own_place: Place, own_server: ClearMLServer) -> None:
    """`mlflow gc` has removed the run from the database; the record may be all that is left of it."""
    own_server.close()
    assert own_place.run(SCRIPT).code == 0
    bring_back(own_place, own_server)
    run_id = own_place.the_run().info.run_id
    own_place.client.delete_run(run_id)
    own_place.client._tracking_client.store._hard_delete_run(run_id)
    synced = own_place.command("sync")
    assert synced.code == 1
    (journal,) = own_place.journals()
    assert f"if it was deleted on purpose, `rm -r {journal}` forgets it" in " ".join(synced.stdout.split())
    shutil.rmtree(journal)
    synced = own_place.command("sync")
    assert (synced.code, "nothing to do: no run is recorded in" in synced.stdout) == (0, True)
