"""`sync --follow --live` mirrors runs while they are running, with no agent in their processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.mlflow_store import history_internals
from autoinstrument.settings import Settings
from autoinstrument.sync import followed_points, followed_runs
from autoinstrument.sync.followed_run import FollowedRun
from autoinstrument.sync.followed_runs import FollowedRuns
from autoinstrument.sync.selection import Selection
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import link_tags, properties, scalars, section, task_of
from tests.unit.sync.test_stored import a_run, autoinstrument

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SETTINGS = Settings()
ALL = Selection(everything=True)


class Follower:
    """Looks every 5 s of its own time."""

    def __init__(self, selection: Selection = ALL, settings: Settings = SETTINGS) -> None:
        self.now = 1000.0
        self.runs = FollowedRuns(selection, settings, clock=lambda: self.now)

    def look(self, times: int = 1) -> list[str]:
        done = []
        for _ in range(times):
            self.now += 5
            done += [f"{outcome.result} {outcome.run_name}" for outcome in self.runs.look()]
        return done


def is_verified(run_id: str) -> bool:
    done = autoinstrument("verify", run_id)
    assert done.exit_code == 0, done.output
    return True


def test_from_start_to_end(server: ClearMLServer, client: MlflowClient) -> None:
    follower = Follower()
    run_id = a_run(client, "from R", status="")
    assert follower.look() == [], "its agent may be about to say that it is there"
    assert follower.look() == ["followed from R"]
    task = task_of(server, run_id)
    assert task["status"] == "in_progress"
    assert len(scalars(server, task["id"])) == 20
    assert link_tags(client.get_run(run_id)) == {
        "task_id": task["id"], "task_url": client.get_run(run_id).data.tags["clearml.task_url"], "state": "followed",
    }  # fmt: skip
    client.log_metric(run_id, "train/loss", 0.01, step=20)
    client.log_batch(run_id, [Metric("val/loss", 0.5, 1_600_000_000_000 + n, n) for n in range(0, 100, 7)])
    client.log_metric(run_id, "no steps", 1.0)
    client.log_param(run_id, "depth", "3")
    client.set_tag(run_id, "team", "audio")
    client.log_text(run_id, "better", "report.txt")
    client.log_text(run_id, "new", "notes/later.txt")
    assert follower.look(3) == []
    task = task_of(server, run_id)
    assert section(task, "MLflow") == {"lr": "0.1", "depth": "3"}
    assert section(task, "MLflow tags")["team"] == "audio"
    assert len(scalars(server, task["id"])) == 21 + 15 + 1
    assert {"report.txt", "notes/later.txt"} <= {artifact["key"] for artifact in task["execution"]["artifacts"]}
    client.delete_tag(run_id, "team")
    client.update_run(run_id, name="renamed")
    client.log_metric(run_id, "no steps", 2.0)
    follower.look()
    task = task_of(server, run_id)
    assert ("team" in section(task, "MLflow tags"), task["name"]) == (False, "renamed")
    client.set_terminated(run_id, "FAILED")
    assert follower.look() == ["synced renamed"]
    assert task_of(server, run_id)["status"] == "failed"
    assert link_tags(client.get_run(run_id))["state"] == "synced"
    assert len(server.tasks) == 1
    assert is_verified(run_id)
    assert follower.look(3) == []
    assert len(follower.runs) == 0


def live(client: MlflowClient, run_id: str, task_id: str, state: str = "live") -> None:
    """Link a run as its agent does."""
    for name, value in (("task_id", task_id), ("state", state)):
        client.set_tag(run_id, f"clearml.{name}", value)


@pytest.mark.parametrize("state", ["live", "pending"])
def test_a_run_whose_agent_is_at_work_is_left_to_it(server: ClearMLServer, client: MlflowClient, state: str) -> None:
    follower = Follower()
    run_id = a_run(client, "with the agent", status="")
    follower.look()
    live(client, run_id, "theirs", state)
    assert follower.look(3) == []
    assert server.tasks == []


def test_an_agent_that_was_slow_takes_over(server: ClearMLServer, client: MlflowClient) -> None:
    """It has made a Task of its own; the follower's goes."""
    follower = Follower()
    run_id = a_run(client, "slow", status="")
    assert follower.look(2) == ["followed slow"]
    followed = task_of(server, run_id)["id"]
    project = server.task(followed)["project"]
    agents_task = Session().call("tasks.create", name="slow", type="training", project=project)["id"]
    live(client, run_id, agents_task)
    assert follower.look(3) == []
    assert [task["id"] for task in server.tasks] == [agents_task]
    assert len(follower.runs) == 0


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_task_that_cannot_be_deleted_stops_no_other_run(
    server: ClearMLServer, client: MlflowClient, status: int
) -> None:
    """As where the follower's credentials may delete nothing."""
    follower = Follower()
    slow, other = a_run(client, "slow", status=""), a_run(client, "other", status="")
    assert sorted(follower.look(2)) == ["followed other", "followed slow"]
    followed = task_of(server, slow)
    agents_task = Session().call("tasks.create", name="slow", type="training", project=followed["project"])["id"]
    live(client, slow, agents_task)
    fault = server.faults.add(Fault("tasks.delete", status=status))
    client.log_metric(slow, "train/loss", 0.001, step=30)
    client.log_metric(other, "train/loss", 0.001, step=30)
    assert follower.look(4) == ["failed slow"] * 3, "it is tried ever more rarely"
    assert len(scalars(server, task_of(server, other)["id"])) == 21
    assert len(scalars(server, followed["id"])) == 20
    server.faults.remove(fault)
    assert follower.look(4) == []
    assert sorted(task["id"] for task in server.tasks) == sorted([agents_task, task_of(server, other)["id"]])


def test_a_complete_task_is_followed_once_its_run_goes_on(server: ClearMLServer, client: MlflowClient) -> None:
    """MLflow calls a run RUNNING whose process is gone, or that was resumed without the agent."""
    run_id = a_run(client, "resumed")
    assert autoinstrument("sync", "--all").exit_code == 0
    client.update_run(run_id, status="RUNNING")
    follower = Follower()
    assert follower.look(3) == []
    assert task_of(server, run_id)["status"] == "completed"
    client.log_metric(run_id, "train/loss", 0.001, step=30)
    assert follower.look() == ["followed resumed"]
    task = task_of(server, run_id)
    assert (task["status"], len(scalars(server, task["id"]))) == ("in_progress", 21)
    assert "mlflow_run_ended" not in properties(task)
    client.set_terminated(run_id)
    assert follower.look() == ["synced resumed"]
    assert task_of(server, run_id)["status"] == "completed"


def test_several_followers_have_the_same_result(server: ClearMLServer, client: MlflowClient) -> None:
    first, second = Follower(), Follower()
    run_id = a_run(client, "watched", status="")
    assert [first.look(), second.look(), first.look()] == [[], [], ["followed watched"]]
    assert second.look() == ["followed watched"]
    for step in range(20, 30):
        client.log_metric(run_id, "train/loss", 1 / step, step=step)
        (first, second)[step % 2].look()
    first.look()
    second.look()
    assert len(scalars(server, task_of(server, run_id)["id"])) == 30
    client.set_terminated(run_id)
    assert first.look() == ["synced watched"]
    assert second.look() == ["unchanged watched"]
    assert len(server.tasks) == 1
    assert is_verified(run_id)


def test_a_follower_that_starts_again_goes_on(server: ClearMLServer, client: MlflowClient) -> None:
    run_id = a_run(client, "long", status="")
    Follower().look(2)
    client.log_metric(run_id, "train/loss", 0.5, step=10)  # MLflow has two points at this step then
    client.log_metric(run_id, "train/loss", 0.01, step=20)
    client.log_param(run_id, "depth", "3")
    client.log_text(run_id, "new", "new.txt")
    again = Follower()
    assert again.look() == ["followed long"], "its tags say that a follower mirrors it"
    task = task_of(server, run_id)
    assert len(server.tasks) == 1
    assert section(task, "MLflow")["depth"] == "3"
    assert len(scalars(server, task["id"])) == 21
    assert "new.txt" in {artifact["key"] for artifact in task["execution"]["artifacts"]}
    client.set_terminated(run_id)
    assert again.look() == ["synced long"]
    assert is_verified(run_id)


def test_the_cost_of_a_look_grows_with_the_changes(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, if nothing has; the points of all runs go into one request, and need no history."""
    follower = Follower()
    for number in range(3):
        a_run(client, f"ended {number}")
    runs = [a_run(client, f"run {number}", status="") for number in range(3)]
    follower.look(3)
    server.clear_requests()
    assert follower.look() == []
    assert server.requests == []
    monkeypatch.setattr("autoinstrument.mlflow_store.new_points.read_pages", None)
    monkeypatch.setattr(followed_points, "new_points", None)
    for run_id in runs:
        client.log_metric(run_id, "train/loss", 0.01, step=20)
    follower.look()
    assert [call.endpoint for call in server.requests] == ["events.add_batch"]
    assert [len(scalars(server, task_of(server, run_id)["id"])) for run_id in runs] == [21] * 3


def test_many_new_runs_have_their_tasks_first(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their latest points; the rest follows as time allows, here two runs a look, the oldest first."""
    for name, value in (("_FEW", 5), ("_LOOK_S", -1.0), ("AT_ONCE", 2)):
        monkeypatch.setattr(followed_runs, name, value)
    monkeypatch.setattr(followed_points, "_READ_S", -1.0)
    monkeypatch.setattr(followed_points, "MOST_RUNS", 2)
    follower = Follower()
    runs = [a_run(client, f"run {number}", status="") for number in range(6)]
    client.set_tag(runs[1], "mlflow.parentRunId", runs[5])

    def points() -> list[int]:
        return [len(scalars(server, task_of(server, run_id)["id"])) for run_id in runs]

    assert sorted(follower.look(2)) == [f"followed run {number}" for number in range(6)]
    assert points() == [20, 20, 1, 1, 1, 1]
    assert all(section(task_of(server, run_id), "MLflow") == {"lr": "0.1"} for run_id in runs)
    assert all(link_tags(client.get_run(run_id))["state"] == "followed" for run_id in runs)
    assert task_of(server, runs[1])["parent"] == task_of(server, runs[5])["id"]
    client.log_param(runs[0], "depth", "3")
    client.log_metric(runs[5], "train/loss", 0.01, step=20)
    assert follower.look() == []
    assert points() == [20, 20, 20, 20, 1, 1], "a change of the others comes later"
    assert follower.look(3) == []
    assert points() == [20, 20, 20, 20, 20, 21]
    assert section(task_of(server, runs[0]), "MLflow")["depth"] == "3"
    assert "report.txt" in {artifact["key"] for artifact in task_of(server, runs[5])["execution"]["artifacts"]}
    for run_id in runs:
        client.set_terminated(run_id)
    follower.look()
    assert all(is_verified(run_id) for run_id in runs)


@pytest.mark.parametrize("state", ["live", ""])
def test_a_run_that_an_agent_links_while_its_task_is_made(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Its tags stay as they are. A run that could not be linked is linked by the next look."""
    monkeypatch.setattr(followed_runs, "_FEW", 1)
    follower = Follower()
    runs = [a_run(client, f"run {number}", status="") for number in range(3)]
    found_again, failures = followed_runs.found_again, [] if state else [MlflowException("away")]

    def slowly(found: Any) -> Any:
        if state:
            live(client, runs[0], "theirs")
        if found and failures:
            raise failures.pop()
        return found_again(found)

    follower.look()
    monkeypatch.setattr(followed_runs, "found_again", slowly)
    follower.look()
    assert len(server.tasks) == 3
    states = [client.get_run(run_id).data.tags.get("clearml.state") for run_id in runs]
    assert states == (["live", "followed", "followed"] if state else [None] * 3)
    follower.look(2)
    states = [client.get_run(run_id).data.tags.get("clearml.state") for run_id in runs]
    assert states == [state or "followed", "followed", "followed"]
    assert len(server.tasks) == (2 if state else 3)


def test_the_histories_of_new_runs_are_read_together(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, one request a metric, and sent with one: what their Tasks hold is known, because they were made here."""
    asked = []
    bulk_history = history_internals.bulk_history

    def noted(store: Any, run_ids: Sequence[str], key: str, most: int) -> Any:
        asked.append((len(run_ids), key))
        return bulk_history(store, run_ids, key, most)

    monkeypatch.setattr(history_internals, "bulk_history", noted)
    monkeypatch.setattr("autoinstrument.mlflow_store.metric_history.read_pages", None)
    monkeypatch.setattr("autoinstrument.mlflow_store.new_points.read_pages", None)
    follower = Follower()
    runs = [a_run(client, f"run {number}", status="") for number in range(4)]
    client.log_metric(runs[0], "other", 1.0, step=3)
    follower.look(2)
    assert sorted(asked) == [(1, "other"), (4, "train/loss")]
    assert [len(scalars(server, task_of(server, run_id)["id"])) for run_id in runs] == [21, 20, 20, 20]
    endpoints = [call.endpoint for call in server.requests]
    assert (endpoints.count("events.add_batch"), "events.scalar_metrics_iter_raw" in endpoints) == (1, False)
    for step in (25, 30):  # more than the next step: there may be others
        client.log_metric(runs[0], "train/loss", 0.01, step=step)
    follower.look()
    assert asked[2:] == [(1, "train/loss")]
    assert len(scalars(server, task_of(server, runs[0])["id"])) == 23


def test_histories_that_one_answer_does_not_hold_are_read_one_by_one(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoinstrument.mlflow_store.short_histories._MOST", 50)
    follower = Follower()
    runs = [a_run(client, f"run {number}", status="", points=15 + 5 * number) for number in range(6)]
    follower.look(2)
    assert [len(scalars(server, task_of(server, run_id)["id"])) for run_id in runs] == [15, 20, 25, 30, 35, 40]
    for run_id in runs:
        client.set_terminated(run_id)
    follower.look()
    assert all(is_verified(run_id) for run_id in runs)


@pytest.mark.swallows("following a run: KeyError")
@pytest.mark.parametrize("method", ["note", "take", "unread", "read", "events", "sent", "first_events"])
def test_a_run_on_whose_data_the_follower_fails_does_not_stop_the_others(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It is reported, left for a while, and complete as soon as the code does not fail any more."""
    follower = Follower()
    odd, other = (a_run(client, name, status="") for name in ("odd", "other"))
    original, is_odd = getattr(FollowedRun, method), True

    def fails(self: FollowedRun, *arguments: Any, **named: Any) -> Any:
        if is_odd and self.run_id == odd:
            raise KeyError("odd")
        return original(self, *arguments, **named)

    def log(step: int) -> None:
        for run_id in (odd, other):  # two steps on, so that the points between must be read
            client.log_batch(run_id, [Metric("train/loss", 0.5, 1_600_000_000_000 + n, n) for n in (step, step + 1)])

    monkeypatch.setattr(FollowedRun, method, fails)
    outcomes = follower.look(2)
    log(20)
    outcomes += follower.look(2)
    assert set(outcomes) - {"followed odd", "failed odd"} == {"followed other"}
    assert "failed odd" in outcomes
    assert len(scalars(server, task_of(server, other)["id"])) == 22
    is_odd = False
    log(22)
    outcomes = follower.look(20)
    assert not [outcome for outcome in outcomes if "failed" in outcome]
    assert all(len(scalars(server, task_of(server, run_id)["id"])) == 24 for run_id in (odd, other))
    client.set_terminated(odd)
    assert follower.look() == ["synced odd"]
    assert is_verified(odd)


def test_many_points_at_once_come_in_several_batches(server: ClearMLServer, client: MlflowClient) -> None:
    follower = Follower()
    run_id = a_run(client, "fast", status="")
    follower.look(2)
    for first in range(20, 5020, 1000):
        client.log_batch(
            run_id, [Metric("train/loss", 0.5, 1_600_000_000_000 + n, n) for n in range(first, first + 1000)]
        )
    client.log_batch(
        run_id, [Metric("odd", value, 1_600_000_000_000, n) for n, value in enumerate([1.0, float("nan"), 2.0])]
    )
    follower.look()
    curves = scalars(server, task_of(server, run_id)["id"])
    assert len(curves) == 5020 + 2
    client.set_terminated(run_id)
    assert follower.look() == ["synced fast"]
    assert is_verified(run_id)


@pytest.mark.parametrize("endpoint", ["*", "events.add_batch", "tasks.get_all"])
def test_points_that_the_server_did_not_take_come_later(
    server: ClearMLServer, client: MlflowClient, endpoint: str
) -> None:
    follower = Follower()
    run_id = a_run(client, "patient", status="")
    follower.look(2)
    fault = server.faults.add(Fault(endpoint, status=503))
    client.log_metric(run_id, "train/loss", 0.01, step=20)
    client.log_param(run_id, "depth", "3")
    other = a_run(client, "new", status="")
    outcomes = follower.look(3)
    assert "failed " in outcomes
    server.faults.remove(fault)
    follower.look(13)
    assert len(scalars(server, task_of(server, run_id)["id"])) == 21
    assert section(task_of(server, run_id), "MLflow")["depth"] == "3"
    assert len(scalars(server, task_of(server, other)["id"])) == 20
    assert len(server.tasks) == 2


def test_a_look_that_was_cut_short_loses_nothing(server: ClearMLServer, client: MlflowClient) -> None:
    """The server answers to the search, and to none of several jobs."""
    follower = Follower()
    runs = [a_run(client, f"run {number}", status="") for number in range(8)]
    follower.look(2)
    fault = server.faults.add(Fault("tasks.get_by_id", status=503))
    for run_id in runs:
        client.log_param(run_id, "depth", "3")
    assert "failed " in follower.look()
    server.faults.remove(fault)
    follower.look(4)
    assert [section(task_of(server, run_id), "MLflow")["depth"] for run_id in runs] == ["3"] * 8


def test_an_artifact_store_that_cannot_be_read(
    server: ClearMLServer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follower lacks its credentials: everything else is mirrored."""
    follower = Follower()
    run_id = a_run(client, "elsewhere", status="")
    monkeypatch.setattr("autoinstrument.mlflow_store.artifacts.ArtifactStore.files", None)
    assert follower.look(2) == ["followed elsewhere"]
    client.log_metric(run_id, "train/loss", 0.01, step=20)
    assert follower.look(5) == []
    assert len(scalars(server, task_of(server, run_id)["id"])) == 21


def test_mlflow_does_not_answer(server: ClearMLServer, client: MlflowClient, tmp_path: Path) -> None:
    follower = Follower()
    run_id = a_run(client, "patient", status="")
    follower.look(2)
    client.log_metric(run_id, "train/loss", 0.01, step=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
        assert follower.look(2) == ["failed ", "failed "]
    assert task_of(server, run_id)["status"] == "in_progress"
    assert follower.look() == []
    assert len(scalars(server, task_of(server, run_id)["id"])) == 21


def test_a_task_that_the_server_has_ended_runs_again(server: ClearMLServer, client: MlflowClient) -> None:
    """The follower was away for two hours; a person's stop is a person's."""
    runs = {name: a_run(client, name, status="") for name in ("silent", "stopped")}
    Follower().look(2)
    for name, reason in (("silent", "Forced stop (non-responsive)"), ("stopped", "enough")):
        task_id = task_of(server, runs[name])["id"]
        Session().call("tasks.stopped", task=task_id, force=True, status_reason=reason)
    again = Follower()
    again.look(2)
    assert {name: task_of(server, run_id)["status"] for name, run_id in runs.items()} == {
        "silent": "in_progress", "stopped": "stopped",
    }  # fmt: skip
    for run_id in runs.values():
        client.log_metric(run_id, "train/loss", 0.01, step=20)
    again.look()
    for run_id in runs.values():
        assert len(scalars(server, task_of(server, run_id)["id"])) == 21
        client.set_terminated(run_id)
    again.look()
    assert {name: task_of(server, run_id)["status"] for name, run_id in runs.items()} == {
        "silent": "completed", "stopped": "stopped",
    }  # fmt: skip


def test_a_quiet_run_stays_alive(server: ClearMLServer, client: MlflowClient) -> None:
    """ClearML ends a Task after two hours; its files are listed once a minute."""
    follower = Follower()
    run_id = a_run(client, "quiet", status="")
    follower.look(3)
    server.clear_requests()
    follower.now += 1800
    follower.look()
    assert "tasks.ping" in [call.endpoint for call in server.requests]
    server.clear_requests()
    follower.look(10)
    assert server.requests == []
    client.log_text(run_id, "new", "new.txt")
    follower.look(13)
    assert "new.txt" in {artifact["key"] for artifact in task_of(server, run_id)["execution"]["artifacts"]}


def test_a_parents_task_is_made_before_its_childs(server: ClearMLServer, client: MlflowClient) -> None:
    follower = Follower()
    parent = a_run(client, "parent", status="")
    child = a_run(client, "child", parent=parent, status="")
    grandchild = a_run(client, "grandchild", parent=child, status="")
    assert follower.look(2) == ["followed parent", "followed child", "followed grandchild"]
    assert task_of(server, child)["parent"] == task_of(server, parent)["id"]
    assert task_of(server, grandchild)["parent"] == task_of(server, child)["id"]


def test_a_task_that_was_deleted_is_made_again(server: ClearMLServer, client: MlflowClient) -> None:
    follower = Follower()
    run_id = a_run(client, "deleted", status="")
    follower.look(2)
    Session().call("tasks.delete", task=task_of(server, run_id)["id"], force=True)
    client.log_metric(run_id, "train/loss", 0.01, step=20)
    follower.look(4)
    task = task_of(server, run_id)
    assert len(scalars(server, task["id"])) == 21
    assert link_tags(client.get_run(run_id))["task_id"] == task["id"]


def test_which_runs(server: ClearMLServer, client: MlflowClient) -> None:
    a_run(client, "old", status="")
    other = client.create_run(client.create_experiment("other"), run_name="other").info
    assert Follower(Selection(experiments=("other",))).look(2) == ["followed other"]
    assert Follower(ALL._replace(since_ms=other.start_time + 1000)).look(2) == []
    assert Follower(settings=Settings(experiments=("nothing",))).look(2) == ["followed other"]
    assert sorted(Follower(settings=Settings(experiments=("old",))).look(2)) == [
        "followed old",
        "followed other",
    ]


def test_a_run_that_is_deleted_while_it_runs_is_left(server: ClearMLServer, client: MlflowClient) -> None:
    follower = Follower()
    run_id = a_run(client, "deleted", status="")
    follower.look(2)
    client.delete_run(run_id)
    assert follower.look(2) == ["running deleted"]
    assert len(follower.runs) == 0
