"""A run whose machine is gone is ended by whoever follows; one that is alive never is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.capture.machine import machine
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.settings import Settings
from autoinstrument.sync.followed_runs import FollowedRuns
from autoinstrument.sync.selection import Selection
from autoinstrument.sync.silent_runs import SilentRuns
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import link_tags, scalars, task_of
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import a_run, autoinstrument
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SETTINGS = Settings(dead_after_s=300.0)


class Clock:
    """Both of a follower's clocks; `suspended` is the time that only the wall clock has counted."""

    def __init__(self) -> None:
        self.now = self.suspended = 0.0

    def wall(self) -> float:
        return self.now + self.suspended


class Follower:
    """Looks every 50 s."""

    def __init__(self, others_after_s: float = math.inf, settings: Settings = SETTINGS) -> None:
        self.clock = Clock()
        self._runs = SilentRuns(
            Tasks(Session()), settings, others_after_s=others_after_s,
            clock=lambda: self.clock.now, wall_clock=self.clock.wall,
        )  # fmt: skip

    def follow(self, seconds: float, beat: Callable[[], object] = lambda: None) -> list[str]:
        """Follow for so long, with a heartbeat now and then; return the outcomes."""
        done = []
        for _ in range(int(seconds / 50)):
            self.clock.now += 50
            beat()
            done += [f"{outcome.result} {outcome.detail}" for outcome in self._runs.ended()]
        return done


@pytest.fixture
def run_id(server: ClearMLServer, client: MlflowClient, tmp_path: Path) -> str:
    """A run whose agent was at work on another machine."""
    return live_run(client, tmp_path)


def live_run(client: MlflowClient, folder: Path) -> str:
    run_id = a_run(client, "on a pod", status="")
    tasks = Tasks(Session())
    run = open_run(client.tracking_uri, run_id).run._replace(owned=True)
    journal = RunJournals(Settings(home=str(folder / "elsewhere"))).of(run, None)
    mirror = RunMirror(journal, SETTINGS, tasks, Uploads(FileUploads(Session())))
    mirror.flush_without_end()
    assert mirror.task is not None
    client.set_tag(run_id, "clearml.task_id", mirror.task.id)
    client.set_tag(run_id, "clearml.state", "live")
    return run_id


def ping(run_id: str, server: ClearMLServer) -> None:
    tasks = Tasks(Session())
    found = tasks.find(task_of(server, run_id)["id"], adopted=False)
    assert found is not None
    tasks.ping(found)


def states(client: MlflowClient, server: ClearMLServer, run_id: str) -> tuple[str, str]:
    return client.get_run(run_id).info.status, str(task_of(server, run_id)["status"])


def test_a_silent_run_is_ended_on_both_sides_and_completed(
    server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    follower = Follower()
    assert follower.follow(300) == []
    assert states(client, server, run_id) == ("RUNNING", "in_progress")
    ended, synced = follower.follow(50)
    assert ended.startswith("ended no sign of life since 2")
    assert synced.startswith("synced ")
    assert states(client, server, run_id) == ("KILLED", "stopped")
    task = task_of(server, run_id)
    assert task["status_reason"].startswith("no sign of life since 2")
    assert len(scalars(server, task["id"])) == 20, "completed from MLflow's store"
    assert link_tags(client.get_run(run_id))["state"] == "synced"
    assert follower.follow(100) == []


def test_any_sign_of_life_counts(server: ClearMLServer, client: MlflowClient, run_id: str) -> None:
    """A ping of the agent's, and a point that reaches MLflow alone."""
    steps = iter(range(100, 1000))
    assert Follower().follow(500, lambda: ping(run_id, server)) == []
    assert Follower().follow(500, lambda: client.log_metric(run_id, "alive", step := next(steps), step=step)) == []
    assert states(client, server, run_id) == ("RUNNING", "in_progress")


def test_time_in_which_the_follower_did_not_watch_does_not_count(
    server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    """It was suspended, or did not come to look, or a server was away: the run may have been cut off as well."""
    follower = Follower()
    assert follower.follow(250) == []
    follower.clock.suspended += 3600
    assert follower.follow(250) == []
    follower.clock.now += 200
    assert follower.follow(250) == []
    fault = server.faults.add(Fault("tasks.get_all", status=503))
    assert follower.follow(50) == []
    server.faults.remove(fault)
    assert follower.follow(250) == []
    assert states(client, server, run_id) == ("RUNNING", "in_progress")
    assert len(follower.follow(100)) == 2


def test_a_run_of_a_living_process_of_this_machine_is_alive(
    server: ClearMLServer, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    """Its process may be stopped by SIGSTOP, and its worker with it."""
    settings = Settings(home=str(tmp_path / "here"), dead_after_s=300.0)
    me = psutil.Process()
    process = PROCESS._replace(pid=me.pid, started_ms=int(me.create_time() * 1000))
    journal = RunJournals(settings).of(open_run(client.tracking_uri, run_id).run._replace(owned=True), process)
    journal.machine = machine()
    journal.save()
    assert Follower(settings=settings).follow(500) == []
    assert states(client, server, run_id) == ("RUNNING", "in_progress")


def test_a_run_that_a_person_has_stopped_is_not_silent(
    server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    Session().call("tasks.stopped", task=task_of(server, run_id)["id"], force=True, status_reason="enough")
    assert Follower().follow(500) == []
    assert states(client, server, run_id) == ("RUNNING", "stopped")


def test_a_task_that_the_script_has_made_is_left_to_clearml(
    server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    """ClearML's own client ends a process whose Task is stopped: it would not survive a machine that sleeps."""
    task_id = task_of(server, run_id)["id"]
    adopted = {"section": "properties", "name": "mlflow_task_adopted", "value": task_id, "type": "str"}
    Session().call("tasks.edit_hyper_params", task=task_id, hyperparams=[adopted], force=True)
    assert Follower().follow(500) == []
    assert states(client, server, run_id) == ("RUNNING", "in_progress")
    reason = "Forced stop (non-responsive)"
    Session().call("tasks.stopped", task=task_id, force=True, status_reason=reason)
    assert Follower().follow(500)
    assert states(client, server, run_id) == ("KILLED", "stopped")
    assert task_of(server, run_id)["status_reason"] == reason


def test_two_followers_end_a_run_once_and_continue_an_interrupted_end(
    server: ClearMLServer, client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Follower(), Follower()
    first.follow(300)
    second.follow(300)
    fault = server.faults.add(Fault("tasks.stopped", when="after", status=502, times=20))  # done, but unanswered
    (failed,) = first.follow(50)[:1]
    assert failed.startswith("failed ")
    assert states(client, server, run_id) == ("RUNNING", "stopped")
    server.faults.remove(fault)
    assert "ended" in " ".join(second.follow(400))
    assert states(client, server, run_id) == ("KILLED", "stopped")
    assert first.follow(100) == []


def test_runs_without_the_agent_are_left_alone_unless_asked_for(server: ClearMLServer, client: MlflowClient) -> None:
    other = a_run(client, "without the agent", status="")
    assert Follower().follow(500) == []
    assert Follower(others_after_s=300.0).follow(400) == ["ended nothing was logged for 300 s"]
    assert client.get_run(other).info.status == "KILLED"


def test_a_run_that_a_follower_mirrors_is_one_without_the_agent(server: ClearMLServer, client: MlflowClient) -> None:
    """Its Task is not the sign of life: it is silent while the follower is away. Its end is the run's."""
    run_id = a_run(client, "followed", status="")
    live = FollowedRuns(Selection(experiments=("old",)), SETTINGS)
    for _ in range(2):
        list(live.look())
    assert link_tags(client.get_run(run_id))["state"] == "followed"
    assert Follower().follow(500) == []
    steps = iter(range(100, 1000))
    follower = Follower(others_after_s=300.0)
    assert follower.follow(500, lambda: client.log_metric(run_id, "always 1", 1, step=next(steps))) == []
    assert follower.follow(350) == ["ended nothing was logged for 300 s"]
    assert [outcome.result for outcome in live.look()] == ["synced"]
    assert states(client, server, run_id) == ("KILLED", "stopped")
    client.set_terminated(run_id)  # it was only silent
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    assert states(client, server, run_id) == ("FINISHED", "completed")


def test_ending_silent_runs_can_be_switched_off(server: ClearMLServer, client: MlflowClient, run_id: str) -> None:
    server.clear_requests()
    assert Follower(settings=Settings(dead_after_s=math.inf)).follow(500) == []
    assert server.requests == []


def test_a_look_costs_two_requests_however_many_have_ended(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path
) -> None:
    for _ in range(3):
        live_run(client, tmp_path)
    server.clear_requests()
    Follower().follow(50)
    assert [call.endpoint for call in server.requests if "login" not in call.endpoint] == ["tasks.get_all"]


def left_open(client: MlflowClient, folder: Path) -> str:
    """A run whose process died; its worker has seen that, and completed the Task."""
    run_id = live_run(client, folder)
    tasks = Tasks(Session())
    found = tasks.find(client.get_run(run_id).data.tags["clearml.task_id"], adopted=False)
    assert found is not None
    tasks.finish(found, "stopped", "the process died with the run still open (signal SIGKILL)", "")
    client.set_tag(run_id, "clearml.state", "synced")
    return run_id


def test_a_run_whose_process_alone_is_gone_is_ended_in_mlflow(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path
) -> None:
    run_id, follower = left_open(client, tmp_path), Follower()
    assert follower.follow(300) == []
    ended, *_ = follower.follow(50)
    assert ended == "ended the process died with the run still open (signal SIGKILL)"
    assert states(client, server, run_id) == ("KILLED", "stopped")
    assert client.get_run(run_id).info.end_time
    assert follower.follow(400) == []


def test_a_run_that_ended_and_goes_on_without_the_agent_is_left_alone(
    server: ClearMLServer, client: MlflowClient, tmp_path: Path
) -> None:
    """Its Task is complete, and it logs nothing for a long time."""
    run_id, follower = left_open(client, tmp_path), Follower()
    assert follower.follow(350)
    client.update_run(run_id, status="RUNNING")
    assert follower.follow(1000) == []
    assert states(client, server, run_id) == ("RUNNING", "stopped")
    assert Follower(others_after_s=300.0).follow(400) == ["ended nothing was logged for 300 s"]
    assert client.get_run(run_id).info.status == "KILLED"


def test_logging_shows_that_a_left_open_run_goes_on(client: MlflowClient, tmp_path: Path) -> None:
    run_id, follower = left_open(client, tmp_path), Follower()
    assert follower.follow(1000, lambda: client.log_metric(run_id, "loss", follower.clock.now)) == []


def test_a_run_that_another_machine_has_called_complete_is_ended_if_its_task_runs(
    server: ClearMLServer, client: MlflowClient, run_id: str
) -> None:
    """An owner here has set the Task running again; the other machine's tag may be written after that."""
    client.set_tag(run_id, "clearml.state", "synced")
    assert Follower().follow(400)
    assert states(client, server, run_id) == ("KILLED", "stopped")


@pytest.mark.parametrize("is_of_agent", [True, False], ids=["ClearML agent", "Task.init"])
def test_a_container_is_killed_and_the_agent_outside_reports_it(
    server: ClearMLServer, client: MlflowClient, run_id: str, is_of_agent: bool
) -> None:
    """As in docker mode: the worker dies with the container. A script may close a Task of its own, and go on."""
    task_id = task_of(server, run_id)["id"]
    adopted = {"section": "properties", "name": "mlflow_task_adopted", "value": task_id, "type": "str"}
    Session().call("tasks.edit_hyper_params", task=task_id, hyperparams=[adopted], force=True)
    if is_of_agent:
        Session().call("tasks.edit", task=task_id, system_tags=[], force=True)
    Session().call("tasks.failed", task=task_id, status_reason="worker execution exit code 137", force=True)
    done = Follower().follow(350)
    assert states(client, server, run_id) == ("KILLED" if is_of_agent else "RUNNING", "failed")
    assert (done[:1] == ["ended worker execution exit code 137"]) is is_of_agent
