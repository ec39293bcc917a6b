"""Runs that go on after their end, are changed by other processes, or were begun without the agent: the same Task."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties, scalars, section, task_of, task_page
from tests.end_to_end.processes import wait_for

FIRST = """
import sys
import mlflow
with mlflow.start_run(run_name="first"):
    mlflow.log_param("a", 1)
    for step in range(10):
        mlflow.log_metric("loss", step, step=step)
    print("first part")
    if sys.argv[1:]:
        raise SystemExit(*sys.argv[1:])
"""
AGAIN = """
import sys
import mlflow
with mlflow.start_run(run_id=sys.argv[1]):
    mlflow.log_param("b", 2)
    for step in range(5, 15):
        mlflow.log_metric("loss", -step, step=step)
    print("second part")
"""

OWNER = """
import pathlib, sys, time
import mlflow
name, run_id = sys.argv[1:]
with mlflow.start_run(run_id=run_id):
    print("owner", name, flush=True)
    pathlib.Path(f"{name} is ready").touch()
    while not pathlib.Path(f"{name} may end").exists():
        time.sleep(0.02)
    if name == "fails":
        raise ValueError("too hot")
"""


def assert_same(place: Place, server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """The run's only Task holds what MLflow holds of it."""
    wait_for(lambda: link_tags(place.mlflow_run(run_id)).get("state") == "synced")
    run, task = place.mlflow_run(run_id), ended(server, run_id)
    assert section(task, "MLflow") == run.data.params
    assert scalars(server, task["id"]) == place.points(run_id)
    assert link_tags(run)["task_id"] == task["id"]
    return task


def test_a_finished_run_goes_on_in_its_task(place: Place, server: ClearMLServer) -> None:
    """No reset, no shifted iterations; values that are logged again replace the earlier ones."""
    assert place.run(FIRST).code == 0
    run_id = place.the_run().info.run_id
    before = ended(server, run_id)
    assert place.run(AGAIN, run_id).code == 0
    after = assert_same(place, server, run_id)
    assert after["id"] == before["id"]
    assert after["status"] == "completed"
    assert max(step for _, step in place.points(run_id)) == 14
    was, now = properties(before), properties(after)
    assert now["mlflow_run_started"] == was["mlflow_run_started"]
    assert now["mlflow_run_ended"] > was["mlflow_run_ended"] > was["mlflow_run_started"]
    console = server.console(after["id"])
    assert console.index("first part") < console.index("second part")


@pytest.mark.core
def test_several_processes_resume_one_run(place: Place, server: ClearMLServer) -> None:
    """The Task runs as long as one of them does, and ends as the last one has ended the run in MLflow."""
    assert place.run(FIRST).code == 0
    run_id = place.the_run().info.run_id
    started = {name: place.start(OWNER, name, run_id, name=f"{name}.py") for name in ("ends", "is killed", "fails")}
    for name in started:
        wait_for(lambda: (place.folder / f"{name} is ready").exists())  # noqa: B023
    wait_for(lambda: task_of(server, run_id)["status"] == "in_progress")
    (place.folder / "ends may end").touch()
    assert started["ends"].finish().code == 0
    assert place.mlflow_run(run_id).info.status == "FINISHED"
    assert task_of(server, run_id)["status"] == "in_progress"
    started["is killed"].kill(signal.SIGKILL)
    started["is killed"].finish()
    (place.folder / "fails may end").touch()
    assert started["fails"].finish().code == 1
    task = assert_same(place, server, run_id)
    assert (task["status"], task["status_reason"]) == ("failed", "ValueError: too hot")
    assert {f"owner {name}" for name in started} <= set(server.console(task["id"]).splitlines())
    assert place.command("verify", run_id).code == 0


def test_a_failed_run_that_is_resumed_ends_well(place: Place, server: ClearMLServer) -> None:
    assert place.run(FIRST, "broken").code == 1
    run_id = place.the_run().info.run_id
    assert ended(server, run_id)["status"] == "failed"
    assert place.run(AGAIN, run_id).code == 0
    wait_for(lambda: task_of(server, run_id)["status"] == "completed")
    assert_same(place, server, run_id)


def test_a_run_that_was_begun_without_the_agent_is_linked_whole(place: Place, server: ClearMLServer) -> None:
    assert place.run(FIRST, agent=False).code == 0
    run_id = place.the_run().info.run_id
    assert not link_tags(place.the_run())
    assert place.run(AGAIN, run_id).code == 0
    assert assert_same(place, server, run_id)["status"] == "completed"
    assert len(place.points(run_id)) == 15


def test_a_run_that_lost_its_tags_finds_its_task_again(place: Place, server: ClearMLServer) -> None:
    """A run copied or cleaned by hand: the Task knows the run, so there is no second one."""
    assert place.run(FIRST).code == 0
    run_id = place.the_run().info.run_id
    before = ended(server, run_id)
    for tag in ("clearml.task_id", "clearml.task_url", "clearml.state"):
        place.client.delete_tag(run_id, tag)
    assert place.run(AGAIN, run_id).code == 0
    assert assert_same(place, server, run_id)["id"] == before["id"]


def test_another_process_changes_a_run_that_has_ended(place: Place, server: ClearMLServer) -> None:
    """Tags, note, name, late values, deletion and restoration: clean-up scripts use the client alone."""
    assert place.run(FIRST).code == 0
    run_id = place.the_run().info.run_id
    before = ended(server, run_id)
    script = """
        import sys
        from mlflow import MlflowClient
        client = MlflowClient()
        client.set_tag(sys.argv[1], "reviewed", "yes")
        client.set_tag(sys.argv[1], "mlflow.note.content", "looks good")
        client.update_run(sys.argv[1], name="best")
        client.log_metric(sys.argv[1], "late", 0.5, step=3)
        client.log_param(sys.argv[1], "late", "too")
        if sys.argv[2] == "delete":
            client.delete_run(sys.argv[1])
        """
    done = place.run(script, run_id, "delete")
    assert done.code == 0, done.stderr
    assert done.stderr == ""

    def archived() -> bool:
        return "archived" in task_of(server, run_id)["system_tags"]

    wait_for(archived)
    after = task_of(server, run_id)
    assert (after["status"], after["name"], after["comment"]) == ("completed", "best", "looks good")
    tags = section(after, "MLflow tags")
    assert (tags["reviewed"], tags["mlflow.runName"]) == ("yes", "best")
    assert section(after, "MLflow")["late"] == "too"
    assert scalars(server, after["id"])["late", 3][0] == 0.5
    assert after["completed"] == before["completed"]
    assert place.run("import sys, mlflow\nmlflow.MlflowClient().restore_run(sys.argv[1])\n", run_id).code == 0
    wait_for(lambda: not archived())
    assert place.run(AGAIN, run_id).code == 0
    assert assert_same(place, server, run_id)["id"] == before["id"]
    assert not place.journals()


def test_runs_without_a_task_are_left_alone_by_changes_from_outside(place: Place, server: ClearMLServer) -> None:
    assert place.run(FIRST, agent=False).code == 0
    run_id = place.the_run().info.run_id
    count = len(server.tasks)
    script = """
        import sys
        from mlflow import MlflowClient
        MlflowClient().set_tag(sys.argv[1], "reviewed", "yes")
        MlflowClient().log_metric(sys.argv[1], "late", 0.5)
        """
    done = place.run(script, run_id)
    assert (done.code, done.stderr) == (0, "")
    assert len(server.tasks) == count
    assert not link_tags(place.the_run())


def test_a_cleanup_that_ends_a_dead_run_ends_its_task(place: Place, server: ClearMLServer) -> None:
    """MLflow's last status counts."""
    assert place.run(FIRST).code == 0
    run_id = place.the_run().info.run_id
    ended(server, run_id)
    script = "import sys, mlflow\nmlflow.MlflowClient().set_terminated(sys.argv[1], 'FAILED')\n"
    assert place.run(script, run_id).code == 0
    wait_for(lambda: task_of(server, run_id)["status"] == "failed")


def test_a_store_of_files(place: Place, server: ClearMLServer) -> None:
    """`file:` stores are in maintenance with MLflow 3, and still in use."""
    place.uri = f"file:{place.root / 'mlruns'}"
    place.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        done = place.run(FIRST)
        assert done.code == 0, done.stderr
        run_id = place.the_run().info.run_id
        assert_same(place, server, run_id)
        assert place.run(AGAIN, run_id).code == 0
        assert assert_same(place, server, run_id)["status"] == "completed"
        assert place.run(FIRST, name="again.py", CLEARML_API_HOST="http://127.0.0.1:9").code == 0
        (pending,) = [run for run in place.mlflow_runs() if link_tags(run)["state"] == "pending"]
        done = place.command("sync")
        assert done.code == 0, done.stderr + done.stdout
        assert_same(place, server, pending.info.run_id)


def test_two_stores_in_one_process(place: Place, server: ClearMLServer, mlflow_server: str) -> None:
    """`set_tracking_uri` between runs and while one is open: each run's data and links go to where it lives."""
    script = """
        import os, sys
        import mlflow
        home = os.environ["MLFLOW_TRACKING_URI"]
        mlflow.log_metric("a", 1.0)
        first = mlflow.active_run().info.run_id
        mlflow.end_run()
        mlflow.set_tracking_uri(sys.argv[1])
        with mlflow.start_run(run_name="there"):
            mlflow.log_metric("b", 2.0)
            here = mlflow.MlflowClient(home)
            here.log_metric(first, "c", 3.0)
            print(mlflow.active_run().info.run_id, flush=True)
        """
    done = place.run(script, mlflow_server)
    assert done.code == 0, done.stderr
    task = assert_same(place, server, place.the_run().info.run_id)
    assert set(server.scalars(task["id"])) - {"Summary"} == {"a", "c"}
    from mlflow import MlflowClient

    run = MlflowClient(mlflow_server).get_run(done.stdout.split()[0])
    there = ended(server, run.info.run_id)
    assert link_tags(run) == {
        "task_id": there["id"],
        "task_url": task_page(server, there),
        "state": "synced",
    }
    assert set(server.scalars(there["id"])) - {"Summary"} == {"b"}


def test_a_run_that_is_deleted_at_its_end_is_archived_silently(place: Place, server: ClearMLServer) -> None:
    script = """
        import mlflow
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 1.0)
        mlflow.delete_run(run.info.run_id)
        print(run.info.run_id)
        """
    done = place.run(script)
    assert done.code == 0
    assert all("is ClearML Task" in line for line in done.agent_lines), done.agent_lines
    run_id = done.stdout.strip()
    wait_for(lambda: "archived" in task_of(server, run_id)["system_tags"])
    assert not place.journals()


def test_a_project_that_mlflow_runs_has_its_own_code(place: Place, server: ClearMLServer) -> None:
    """`mlflow run` makes the run; the program that it starts continues it, and a clone must run this program."""
    place.write("MLproject", "name: fruit\nentry_points:\n  main:\n    command: python train.py --alpha 0.5\n")
    place.write(
        "train.py",
        """
        import argparse, mlflow
        parser = argparse.ArgumentParser()
        parser.add_argument("--alpha", type=float)
        args = parser.parse_args()
        with mlflow.start_run():
            mlflow.log_metric("alpha", args.alpha)
        """,
    )
    path = f"{Path(place.python).parent}:{os.environ['PATH']}"
    done = place.run("", command=["-m", "mlflow", "run", ".", "--env-manager", "local"], PATH=path)
    assert done.code == 0, done.stderr
    run = place.the_run()
    task = ended(server, run.info.run_id)
    wait_for(lambda: not place.workers())
    task = ended(server, run.info.run_id)
    assert task["status"] == "completed"
    assert (task["script"]["entry_point"], section(task, "Args")) == ("train.py", {"alpha": "0.5"})
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert len(server.tasks) == len({properties(task).get("mlflow_run_id") for task in server.tasks})
