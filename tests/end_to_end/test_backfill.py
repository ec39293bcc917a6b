"""`autoinstrument sync --all`: Tasks of runs from before the agent was installed, and later changes of runs."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import Any

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, link_tags, scalars, section, task_of
from tests.end_to_end.processes import Started, wait_for

OLD = """
import mlflow
mlflow.set_experiment("old/study")
with mlflow.start_run(run_name="parent", description="from before"):
    mlflow.log_param("a", 1)
    for number in range(2):
        with mlflow.start_run(run_name=f"child {number}", nested=True):
            for step in range(30):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_text("text", "notes.txt")
try:
    with mlflow.start_run(run_name="broken"):
        raise ValueError("no luck")
except ValueError:
    pass
mlflow.set_experiment("other")
with mlflow.start_run(run_name="elsewhere"):
    mlflow.log_metric("loss", 1.0)
mlflow.MlflowClient().create_run("0", run_name="still running")
"""


@pytest.fixture
def old(own_place: Place) -> Place:
    """A store whose runs were made without the agent."""
    done = own_place.run(OLD, agent=False)
    assert done.code == 0, done.stderr
    return own_place


def outcomes(place: Place, *arguments: str) -> dict[str, str]:
    """Run `sync --json` and return the outcome of each run, by name."""
    done = place.command("sync", "--json", *arguments)
    assert done.code == 0, done.stderr + done.stdout
    return {outcome["run_name"]: outcome["result"] for outcome in json.loads(done.stdout)}


def assert_same(place: Place, server: ClearMLServer, name: str) -> dict[str, Any]:
    run = place.run_named(name)
    task = task_of(server, run.info.run_id)
    assert section(task, "MLflow") == run.data.params
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert link_tags(run)["task_id"] == task["id"]
    assert link_tags(run)["state"] == "synced"
    assert task["status"] == {"FINISHED": "completed", "FAILED": "failed"}[run.info.status]
    return task


ALL = ["parent", "child 0", "child 1", "broken", "elsewhere"]


def assert_all_once(place: Place, server: ClearMLServer) -> None:
    """Each run has one complete Task, which has nothing twice."""
    tasks = {name: assert_same(place, server, name) for name in ALL}
    assert len(server.tasks) == len(ALL)
    assert {tasks[name]["parent"] for name in ("child 0", "child 1")} == {tasks["parent"]["id"]}
    for task in tasks.values():
        keys = [artifact["key"] for artifact in task["execution"]["artifacts"]]
        assert len(keys) == len(set(keys))


def start_sync(place: Place, *arguments: str) -> Started:
    command = ["-m", "autoinstrument", "sync", "--all"]
    return place.start("", *arguments, command=command, AUTOINSTRUMENT_ENABLED="")


def test_runs_from_before_the_agent_get_their_tasks_once(old: Place, own_server: ClearMLServer) -> None:
    names = ["parent", "child 0", "child 1", "broken"]
    assert outcomes(old, "--experiment", "old/study", "--dry-run") == dict.fromkeys(names, "pending")
    assert own_server.tasks == []
    assert outcomes(old, "--experiment", "old/study") == dict.fromkeys(names, "synced")
    done = old.command("sync", "--all")
    assert done.code == 0, done.stderr
    summary = [line.split() for line in done.stdout.splitlines()[-4:]]
    assert summary == [["result", "runs"], ["running", "1"], ["synced", "1"], ["unchanged", "4"]]
    tasks = {name: assert_same(old, own_server, name) for name in [*names, "elsewhere"]}
    assert len(own_server.tasks) == 5
    assert tasks["parent"]["comment"] == "from before"
    assert {tasks[name]["parent"] for name in ("child 0", "child 1")} == {tasks["parent"]["id"]}
    assert [artifact["key"] for artifact in tasks["child 0"]["execution"]["artifacts"]] == ["notes.txt"]
    assert own_server.project_name(tasks["child 0"]["project"]) == "old/study"
    assert tasks["parent"]["script"]["entry_point"].endswith("train.py")
    own_server.clear_requests()
    assert set(outcomes(old, "--all").values()) == {"unchanged", "running"}
    changing = ("tasks.create", "tasks.edit", "tasks.started", "tasks.completed", "tasks.failed", "events.add_batch")
    assert not [endpoint for endpoint in changing if own_server.calls(endpoint)]
    assert {task["id"]: task for task in own_server.tasks} == {task["id"]: task for task in tasks.values()}
    assert_a_large_task_is_left_out(old, own_server)


def assert_a_large_task_is_left_out(place: Place, server: ClearMLServer) -> None:
    """`sync` and `verify` refuse an answer without end, report it in one line, and go on with the other runs."""
    task = task_of(server, place.run_named("child 1").info.run_id)
    server.state.tasks[task["id"]]["comment"] = " " * (65 * 2**20)
    done = place.command("sync", "--all", "--json")
    assert (done.code, "Traceback" in done.stderr) == (1, False)
    found = {outcome["run_name"]: (outcome["result"], outcome["detail"]) for outcome in json.loads(done.stdout)}
    assert found.pop("child 1") == ("failed", "tasks.get_all: the answer is over 64 MiB, and is not read")
    assert {result for result, _ in found.values()} == {"unchanged", "running"}
    verified = json.loads(place.command("verify", "--json").stdout)
    assert verified["same"] == len(ALL) - 1
    (problem,) = verified["problems"]
    assert problem["problem"] == "tasks.get_by_id: the answer is over 64 MiB, and is not read"


def test_later_changes_are_synced(old: Place, own_server: ClearMLServer) -> None:
    assert old.command("sync", "--experiment", "old/study").code == 0
    run_id = old.run_named("child 0").info.run_id
    old.client.set_tag(run_id, "reviewed", "yes")
    old.client.update_run(run_id, name="best child")
    old.client.log_metric(run_id, "late", 0.5)
    broken = old.run_named("broken").info.run_id
    old.client.delete_run(broken)
    changed = outcomes(old, "--experiment", "old/study")
    assert changed == {"parent": "unchanged", "best child": "synced", "child 1": "unchanged", "broken": "synced"}
    task = assert_same(old, own_server, "best child")
    assert task["name"] == "best child"
    assert section(task, "MLflow tags")["reviewed"] == "yes"
    assert outcomes(old, "--experiment", "old/study", "--deleted")["broken"] == "unchanged"
    assert "archived" in task_of(own_server, broken)["system_tags"]
    old.client.restore_run(broken)
    assert outcomes(old, "--experiment", "old/study")["broken"] == "synced"
    assert "archived" not in task_of(own_server, broken)["system_tags"]


def test_one_run_by_its_id_brings_its_parent_along(old: Place, own_server: ClearMLServer) -> None:
    run_id = old.run_named("child 1").info.run_id
    assert outcomes(old, "--run", run_id) == {"child 1": "synced"}
    assert assert_same(old, own_server, "child 1")["parent"] == assert_same(old, own_server, "parent")["id"]
    assert len(own_server.tasks) == 2


def test_a_sync_that_was_killed_can_be_repeated(old: Place, own_server: ClearMLServer) -> None:
    """SIGKILL after some request, AUTOINSTRUMENT_KILLS times, 3 by default."""
    rounds, moments = int(os.environ.get("AUTOINSTRUMENT_KILLS", "3")), random.Random(5)  # the same each time
    for _ in range(rounds):
        seen, started = len(own_server.requests) + moments.randint(1, 12), start_sync(old)
        while started.process.poll() is None and len(own_server.requests) < seen:
            time.sleep(0.002)
        started.kill(9)
        started.finish()
    assert old.command("sync", "--all").code == 0
    assert_all_once(old, own_server)


def test_two_syncs_at_once_make_no_second_task(old: Place, own_server: ClearMLServer) -> None:
    started = [start_sync(old), start_sync(old)]
    assert [one.finish(90).code for one in started] == [0, 0]
    assert_all_once(old, own_server)


def test_a_follower_completes_runs_that_end(own_place: Place, own_server: ClearMLServer) -> None:
    """Runs that come while it follows get their Tasks; a signal ends it, with a summary and code 0."""
    following = start_sync(own_place, "--follow")
    wait_for(lambda: own_server.calls("tasks.get_all") or following.process.poll() is None)
    assert own_place.run(OLD, agent=False).code == 0
    wait_for(lambda: len([task for task in own_server.tasks if task["status"] in ("completed", "failed")]) == 5)
    wait_for(lambda: link_tags(own_place.run_named("elsewhere")).get("state") == "synced")
    following.kill(signal.SIGINT)
    done = following.finish(30)
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    synced = [line.split(":")[0] for line in lines if ": synced" in line]
    assert sorted({*synced, "parent"}) == sorted(ALL)  # the parent's Task may have been made on behalf of a child
    assert lines[-1].split() == ["synced", str(len(synced))]
    assert_all_once(own_place, own_server)


def test_an_interrupted_sync_prints_its_summary(own_place: Place, own_server: ClearMLServer) -> None:
    assert own_place.run(OLD, agent=False).code == 0
    own_server.faults.add(Fault("tasks.create", latency=0.5))
    syncing = start_sync(own_place)
    wait_for(lambda: own_server.tasks)
    syncing.kill(signal.SIGINT)
    done = syncing.finish(30)
    assert done.code == 1
    assert done.stderr.splitlines()[-1] == "interrupted: run the same command again to go on"
    assert "Traceback" not in done.stderr
    assert start_sync(own_place).finish().code == 0
    assert_all_once(own_place, own_server)


def test_a_live_run_is_unchanged_for_sync(own_place: Place, own_server: ClearMLServer) -> None:
    """A run that was mirrored live needs nothing; a crash that MLflow calls FINISHED stays failed."""
    assert own_place.run("import mlflow\nmlflow.start_run(run_name='live')\nmlflow.log_metric('a', 1)\n1/0\n").code == 1
    wait_for(lambda: link_tags(own_place.the_run()).get("state") == "synced")
    assert own_place.the_run().info.status == "FINISHED"
    assert outcomes(own_place, "--all") == {"live": "unchanged"}
    (task,) = own_server.tasks
    own_place.client.set_tag(own_place.the_run().info.run_id, "x", "y")
    assert outcomes(own_place, "--all") == {"live": "synced"}
    (after,) = own_server.tasks
    assert (task["status"], task["status_reason"]) == (after["status"], after["status_reason"])
    assert after["status"] == "failed"


@pytest.mark.parametrize(
    "arguments", [["--experiment", "no such"], ["--since", "2020-01-01"], ["--all", "--run", "x"], ["--since", "soon"]]
)
def test_wrong_usage_is_reported_in_one_line(own_place: Place, arguments: list[str]) -> None:
    done = own_place.command("sync", *arguments)
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
