"""Several processes resume one run, on one machine or two: both sides end alike, whoever ends last, fails or dies."""

from __future__ import annotations

import dataclasses
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.mirror.mapping import links
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import ConsoleWritten, Delivered, ProcessExiting, Record, RunEnded, RunLinked
from autoinstrument.settings import Settings, read_settings
from autoinstrument.sync.followed_runs import FollowedRuns
from autoinstrument.sync.selection import Selection
from autoinstrument.transport.protocol import encode, read_all
from autoinstrument.worker.service import Worker
from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import link_tags, properties, section, task_of, tasks_of
from tests.end_to_end.processes import wait_for
from tests.unit.mirror.runs import PROCESS
from tests.unit.sync.test_stored import a_run
from tests.unit.sync.test_stored import server as server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

_STATUS = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "stopped", "RUNNING": "stopped"}


class Machine:
    """A worker, with journals of its own."""

    def __init__(self, folder: Path) -> None:
        settings = dataclasses.replace(read_settings(), home=str(folder / "home"), dead_after_s=2.5)
        self.worker = Worker(folder, settings)  # it looks at the Tasks' statuses twice a second
        self.thread = threading.Thread(target=self.worker.run, daemon=True)


class Owner:
    """A process that has resumed a run; MLflow is told what MLflow's own functions would tell it."""

    pids = itertools.count(2**23)  # of no process

    def __init__(self, machine: Machine, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        client.update_run(run_id, status="RUNNING")
        self._connection, theirs = socket.socketpair()
        machine.worker.add(theirs)
        if not machine.thread.is_alive():
            machine.thread.start()
        self.answers: list[Record] = []
        threading.Thread(target=lambda: self.answers.extend(read_all(self._connection)), daemon=True).start()
        run = open_run(client.tracking_uri, run_id).run._replace(owned=True)
        self._say(PROCESS._replace(pid=next(self.pids)), run)
        self._ended: RunEnded | None = None

    def _say(self, *records: object) -> None:
        self._connection.sendall(encode(list(records)))  # type: ignore[arg-type]

    def write(self, text: str) -> None:
        self._say(ConsoleWritten("stdout", text, int(time.time() * 1000)))

    def note(self, status: str, error: str = "") -> None:
        """End the run in MLflow, because of a traceback if it is given; the worker is told later."""
        time.sleep(0.002)  # MLflow's times are milliseconds
        ended_ms = int(time.time() * 1000)
        self._client.set_terminated(self._run_id, status, ended_ms)
        self._ended = RunEnded(self._run_id, status, ended_ms, error, False)

    def say(self) -> None:
        self._say(self._ended)

    def end(self, status: str, error: str = "") -> None:
        self.note(status, error)
        self.say()

    def exit(self) -> None:
        self.begin_exit()
        self.die()

    def begin_exit(self) -> None:
        self._say(ProcessExiting("", interrupted=False, wait_s=0.0))

    def die(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    made = [Machine(tmp_path / name) for name in ("alpha", "beta")]
    yield made
    for machine in made:
        for process in list(machine.worker._runs.processes):
            process.hang_up()


def left(machine: Machine) -> Callable[[], bool]:
    """Return what is true when nothing of the machine's processes is left to do."""
    return lambda: not machine.worker._runs.processes


def wait_for_owners(machine: Machine, run_id: str, number: int) -> None:
    """Wait until the worker knows that so many processes are at work on a run: each has its own connection."""
    wait_for(lambda: len(machine.worker._runs.open.get(run_id, [])) == number, 60)


def console(server: ClearMLServer, run_id: str) -> str:
    tasks = tasks_of(server, run_id)
    return str(server.console(tasks[0]["id"])) if tasks else ""


@pytest.mark.parametrize("is_shared", [True, False], ids=["one machine", "two machines"])
@pytest.mark.parametrize(
    ("acts", "wanted"),
    [
        ("a FINISHED, b FINISHED", "FINISHED"),
        ("a FAILED, b FINISHED", "FINISHED"),
        ("a FINISHED, b FAILED", "FAILED"),
        ("a FINISHED, b dies", "FINISHED"),
        ("a dies, b FAILED", "FAILED"),
        ("a FAILED, b exits", "FAILED"),
        ("a dies, b dies", "RUNNING"),
        ("a notes FAILED, b FINISHED, a says", "FINISHED"),  # its worker was cut off
        ("a notes FINISHED, b FAILED, a says", "FAILED"),
        ("b notes FAILED, a FINISHED, b says", "FINISHED"),
    ],
)
def test_both_sides_agree(
    server: ClearMLServer, client: MlflowClient, machines: list[Machine], acts: str, wanted: str, is_shared: bool
) -> None:
    run_id = a_run(client, "parent", status="")
    where = {"a": machines[0], "b": machines[0 if is_shared else 1]}
    owners = {}
    for name, machine in where.items():
        owners[name] = Owner(machine, client, run_id)
        owners[name].write(f"hello from {name}\n")
        wait_for(lambda: f"hello from {name}" in console(server, run_id), 60)  # noqa: B023
    for name, *words in map(str.split, acts.split(", ")):
        owner, rest = owners[name], " ".join(words)
        if words[0] == "notes":
            owner.note(words[1])
            continue
        {"says": owner.say, "dies": owner.die, "exits": owner.exit}.get(words[0], lambda: owner.end(rest))()  # noqa: B023
        if rest not in ("dies", "exits"):
            owner.exit()
        others = [other for other in owners if where[other] is where[name] and other != name and other in acts]
        if not others or name == acts.split(", ")[-1][0]:
            wait_for(left(where[name]), 60)
    assert client.get_run(run_id).info.status == wanted
    task = task_of(server, run_id)
    assert task["status"] == _STATUS[wanted], task["status_reason"]
    if wanted != "RUNNING":
        assert int(properties(task)["mlflow_run_ended"][:4]) >= 2020
        assert link_tags(client.get_run(run_id))["state"] == "synced"
    assert len(server.tasks) == len({properties(each).get("mlflow_run_id") for each in server.tasks})


def test_a_run_goes_on_while_one_owner_is_at_work(
    server: ClearMLServer, client: MlflowClient, machines: list[Machine]
) -> None:
    """MLflow calls it FINISHED as soon as any owner ends it; its Task has the console of the others meanwhile."""
    run_id = a_run(client, "parent", status="")
    first, second = (Owner(machines[0], client, run_id) for _ in range(2))
    wait_for_owners(machines[0], run_id, 2)
    first.end("FINISHED")
    first.write("not of this run any more\n")
    second.write("still here\n")

    wait_for(lambda: "still here" in console(server, run_id), 60)
    assert task_of(server, run_id)["status"] == "in_progress"
    second.die()  # the first one is connected, and has left the run
    wait_for(lambda: task_of(server, run_id)["status"] == "completed", 60)
    assert "not of this run" not in console(server, run_id)
    third = Owner(machines[0], client, run_id)
    wait_for(lambda: task_of(server, run_id)["status"] == "in_progress", 60)
    third.die()
    wait_for(lambda: task_of(server, run_id)["status"] == "stopped", 60)
    assert client.get_run(run_id).info.status == "RUNNING", "a follower ends it"


def test_an_exit_waits_for_a_run_that_another_owner_has_ended(
    server: ClearMLServer, client: MlflowClient, machines: list[Machine]
) -> None:
    """The Task has what was logged before these processes; a container ends with the process that has started them."""
    run_id = a_run(client, "parent", status="")
    launcher, script = (Owner(machines[0], client, run_id) for _ in range(2))
    wait_for_owners(machines[0], run_id, 2)
    script.end("FINISHED")
    script.exit()
    wait_for(lambda: len(machines[0].worker._runs.processes) == 1, 60)
    launcher.begin_exit()
    wait_for(lambda: Delivered() in launcher.answers, 60)
    task = task_of(server, run_id)
    assert (task["status"], section(task, "MLflow")) == ("completed", {"lr": "0.1"})
    (linked,) = [answer for answer in launcher.answers if isinstance(answer, RunLinked) and answer.delivered]
    assert launcher.answers.index(linked) < launcher.answers.index(Delivered())
    launcher.die()
    wait_for(left(machines[0]), 60)


@pytest.mark.parametrize(("last", "reason"), [("FAILED", "ValueError: diverged"), ("KILLED", "MLflow: KILLED")])
def test_the_owner_that_knows_why_a_run_has_failed_gives_the_reason(
    server: ClearMLServer, client: MlflowClient, machines: list[Machine], last: str, reason: str
) -> None:
    """`mlflow run` sets the run to FAILED when its script has ended it and exited with a code other than 0."""
    run_id = a_run(client, "parent", status="")
    launcher, script = (Owner(machines[0], client, run_id) for _ in range(2))
    wait_for_owners(machines[0], run_id, 2)
    script.end("FAILED", 'Traceback:\n  File "train.py", line 4\nValueError: diverged\n')
    script.exit()
    launcher.end(last)
    launcher.exit()
    wait_for(left(machines[0]), 60)
    assert task_of(server, run_id)["status_reason"] == reason


@pytest.mark.parametrize("is_followed", [False, True], ids=["", "with `sync --follow --live`"])
def test_a_run_that_was_resumed_after_its_end_goes_on(
    server: ClearMLServer, client: MlflowClient, machines: list[Machine], is_followed: bool
) -> None:
    """The worker of the owner that has ended it ends the Task later: no follower would end the run then."""
    run_id = a_run(client, "parent", status="")
    first = Owner(machines[0], client, run_id)
    first.write("begins\n")
    wait_for(lambda: "begins" in console(server, run_id), 60)
    first.note("FINISHED")
    second = Owner(machines[1], client, run_id)
    second.write("still here\n")
    wait_for(lambda: "still here" in console(server, run_id), 60)
    server.clear_requests()
    if is_followed:
        client.set_tag(run_id, "clearml.state", "synced")
        live = FollowedRuns(Selection(experiments=("old",)), Settings())
        list(live.look())
        client.log_metric(run_id, "more", 1.0, step=1)
        end: dict[str, Any] = {"task": task_of(server, run_id)["id"], "force": True}
        Session().call("tasks.edit_hyper_params", **end, hyperparams=links.end_time(1_600_000_000_000))
        Session().call("tasks.completed", **end)
        list(live.look())
    else:
        first.say()
        first.exit()
        wait_for(left(machines[0]), 60)
    ended = [call.endpoint for call in server.requests].count("tasks.completed")
    assert ended == 1
    wait_for(lambda: task_of(server, run_id)["status"] == "in_progress", 60)
    wait_for(lambda: not task_of(server, run_id)["status_reason"], 60)
    second.end("FAILED")
    second.exit()
    wait_for(left(machines[1]), 60)
    if is_followed:  # its worker has set the Task to running, too, perhaps just now
        first.say()
        first.exit()
        wait_for(left(machines[0]), 60)
    assert (client.get_run(run_id).info.status, task_of(server, run_id)["status"]) == ("FAILED", "failed")
