"""A table of what can go wrong, when, and whether it heals: training does not notice, and nothing is lost.

A handful of cases runs always; `AUTOINSTRUMENT_ALL_FAULTS=1` runs them all.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, link_tags, scalars, section, task_of
from tests.end_to_end.processes import Finished, wait_for

ALL = bool(os.environ.get("AUTOINSTRUMENT_ALL_FAULTS"))
EXIT_S, MORE_S = 3.0, 2.5
"""`AUTOINSTRUMENT_EXIT_TIMEOUT`, and what a machine under load adds to a script that runs for 6 s."""

SCRIPT = """
import pathlib, sys, time
import mlflow

def moment(name):
    print(name, flush=True)
    pathlib.Path(name).touch()
    if len(sys.argv) > 1 and sys.argv[1] == name:
        while not pathlib.Path("go").exists():
            time.sleep(0.02)

moment("before")
with mlflow.start_run(run_name="the run"):
    mlflow.log_params({"lr": 0.1, "depth": 3})
    for step in range(100):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        if step == 50:
            time.sleep(1.5)
            moment("middle")
            time.sleep(1.5)
    mlflow.set_tag("stage", "test")
    mlflow.log_text("hello", "hello.txt")
    moment("end")
moment("exit")
pathlib.Path("left").write_text(str(time.time()))
sys.exit(3)
"""

FAULTS = {
    "slow 100 ms": Fault(latency=0.1),
    "slow 500 ms": Fault(latency=0.5),
    "slow 10 s": Fault(latency=10.0),
    "500": Fault(status=500),
    "500 after handling": Fault(status=500, when="after"),
    "503": Fault(status=503),
    "429": Fault(status=429, retry_after=2),
    "hangs": Fault(action="hang"),
    "hangs after handling": Fault(action="hang", when="after"),
    "drops": Fault(action="drop"),
    "drops after handling": Fault(action="drop", when="after"),
    "refuses connections": None,
    "credentials revoked": None,
    "home is a file": None,
    "home is read-only": None,
    "disk full": None,
}
MOMENTS = ("before", "middle", "end", "exit")


class Case(NamedTuple):
    fault: str
    moment: str
    heals: bool

    def __str__(self) -> str:
        return f"{self.fault}, {self.moment}, {'heals' if self.heals else 'stays'}"


CASES = [Case(*values) for values in itertools.product(FAULTS, MOMENTS, (True, False))]
CHOSEN = [
    Case("slow 10 s", "middle", False),
    Case("500 after handling", "before", True),
    Case("503", "middle", True),
    Case("429", "end", False),
    Case("hangs", "middle", False),
    Case("hangs after handling", "before", False),
    Case("drops after handling", "end", True),
    Case("refuses connections", "middle", True),
    Case("credentials revoked", "middle", False),
    Case("home is a file", "before", False),
    Case("disk full", "before", False),
]


class Trouble:
    """One fault of the table, to be begun and ended."""

    def __init__(self, name: str, place: Place, server: ClearMLServer) -> None:
        self._name, self._place, self._server = name, place, server

    def begin(self) -> None:
        fault, captures = FAULTS[self._name], self._place.home / "captures"
        if fault is not None:
            self._server.faults.add(fault)
        elif self._name == "refuses connections":
            self._server.close()
        elif self._name == "credentials revoked":
            self._server.credentials.revoke(tokens=True)
        else:  # for root, too, who may write everywhere else
            self._place.home.mkdir(exist_ok=True)
            shutil.rmtree(captures, ignore_errors=True)
            if self._name == "disk full":
                captures.symlink_to("/dev/full")
            elif self._name == "home is read-only":
                captures.symlink_to("/proc/self")
            else:
                captures.write_text("in the way")

    def end(self) -> None:
        captures = self._place.home / "captures"
        self._server.faults.clear()
        if self._name == "refuses connections":
            self._server.start()
        self._server.credentials.restore()
        if captures.is_symlink() or captures.is_file():
            captures.unlink()


class Plain(NamedTuple):
    """The script without the agent, and how long its interpreter took to end."""

    done: Finished
    exit_s: float


@pytest.fixture(scope="module")
def plain(new_place: Callable[[ClearMLServer | None], Place]) -> Plain:
    """The second run: files are in memory then."""
    place = new_place(None)
    place.run(SCRIPT, agent=False)
    done = place.run(SCRIPT, agent=False)
    return Plain(done, exit_seconds(place))


def exit_seconds(place: Place) -> float:
    """Return how long the last script went on after its last line; call it as soon as it has ended."""
    return time.time() - float((place.folder / "left").read_text())


def assert_equal(place: Place, server: ClearMLServer) -> None:
    """The run's one Task is what the MLflow store holds, and they are linked."""
    run = place.the_run()
    task = task_of(server, run.info.run_id)
    assert task["status"] == {"FINISHED": "completed", "FAILED": "failed"}.get(run.info.status, "stopped")
    assert scalars(server, task["id"]) == place.points(run.info.run_id)
    assert section(task, "MLflow") == dict(run.data.params)
    assert {key: value for key, value in section(task, "MLflow tags").items() if "." not in key} == {
        key: value for key, value in run.data.tags.items() if "." not in key
    }
    artifacts = {artifact["key"] for artifact in task["execution"]["artifacts"]} - {"MLflow run"}
    assert artifacts == {artifact.path for artifact in place.client.list_artifacts(run.info.run_id)}
    assert link_tags(run)["task_id"] == task["id"]
    assert link_tags(run)["state"] == "synced"


@pytest.mark.parametrize("case", CASES if ALL else CHOSEN, ids=str)
def test_training_does_not_notice_and_nothing_is_lost(
    own_place: Place, own_server: ClearMLServer, plain: Plain, case: Case
) -> None:
    """Exit code, output and MLflow's data are those of the run without the agent; `sync` does the rest."""
    place, server = own_place, own_server
    trouble = Trouble(case.fault, place, server)
    started = place.start(SCRIPT, case.moment, AUTOINSTRUMENT_EXIT_TIMEOUT=str(EXIT_S))
    wait_for((place.folder / case.moment).exists, 30)
    trouble.begin()
    (place.folder / "go").touch()
    if case.heals:
        time.sleep(2)
        trouble.end()
    done = started.finish(60)
    exit_s = exit_seconds(place)
    print(f"{case}: {done.seconds:.1f} s ({plain.done.seconds:.1f} without), exit {exit_s:.1f} s ({plain.exit_s:.1f})")
    assert (done.code, done.stdout) == (plain.done.code, plain.done.stdout)
    assert "Traceback" not in done.stderr
    assert len(done.said) <= 2, done.stderr
    assert exit_s < EXIT_S + 2 * plain.exit_s + MORE_S
    assert done.seconds < 1.5 * plain.done.seconds + EXIT_S + MORE_S + (2 if case.heals else 0)
    run = place.the_run()
    assert run.data.params == {"lr": "0.1", "depth": "3"}
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in place.client.get_metric_history(run.info.run_id, "loss")] == list(range(100))
    trouble.end()
    wait_for(lambda: not place.workers(), 80)
    if link_tags(place.the_run()).get("state") != "synced":
        synced = place.command("sync")
        assert synced.code == 0, synced.stdout + synced.stderr
    assert_equal(place, server)


TRAINING = """
import pathlib, mlflow
with mlflow.start_run():
    mlflow.log_param("lr", 0.1)
    pathlib.Path("ready").touch()
    for step in range(100_000):
        mlflow.log_metric("loss", step, step=step)
        print("step", step, flush=True)
"""


@pytest.mark.parametrize("number", range(50 if ALL else 2))
@pytest.mark.parametrize("victim", ["training", "worker", "both"])
def test_killed_at_a_random_moment(own_place: Place, own_server: ClearMLServer, victim: str, number: int) -> None:
    """SIGKILL of the training process, of its worker, of both: then `sync`, then the Task is what MLflow holds."""
    place = own_place
    moment_s = random.Random(f"{victim} {number}").uniform(0, 3)  # the same ones each time
    started = place.start(TRAINING)
    wait_for((place.folder / "ready").exists, 30)
    time.sleep(moment_s)
    if victim != "training":
        for worker in wait_for(place.workers, 5):
            worker.kill()
    if victim == "worker":
        time.sleep(1)
        started.kill(signal.SIGINT)
    else:
        started.kill(signal.SIGKILL)
    started.finish(30)
    wait_for(lambda: not place.workers(), 80)
    if link_tags(place.the_run()).get("state") != "synced":
        synced = place.command("sync")
        assert synced.code == 0, synced.stdout + synced.stderr
    run = place.the_run()
    task = task_of(own_server, run.info.run_id)
    print(f"{victim} {number}, after {moment_s:.2f} s: {task['status']}, {task['status_reason']}")
    assert task["status"] == "stopped"
    assert scalars(own_server, task["id"]) == place.points(run.info.run_id)
    assert section(task, "MLflow") == {"lr": "0.1"}
    assert link_tags(run)["state"] == "synced"
