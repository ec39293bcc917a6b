"""Runs of every kind die with their process, their worker, or both: a follower elsewhere ends them on both sides."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, link_tags, scalars, task_of
from tests.end_to_end.processes import Started, wait_for

START = """
import os, pathlib, subprocess, sys, time
import mlflow

name = sys.argv[1]

def train(log=lambda value, step: mlflow.log_metric("loss", value, step=step)):
    log(1.0, 0)
    print(name, "is at work", flush=True)
    pathlib.Path(f"{name}.new").write_text(str(os.getpid()))
    pathlib.Path(f"{name}.new").rename(f"{name}.pid")
    while not pathlib.Path("may end").exists():
        time.sleep(0.05)
    log(0.5, 1)
"""
IN_A_CHILD = """
import multiprocessing

def child():
    with mlflow.start_run(run_name=name):
        train()

if __name__ == "__main__":
    process = multiprocessing.get_context("{}").Process(target=child)
    process.start()
    process.join()
"""
KINDS = {
    "nested": """
with mlflow.start_run(run_name=name), mlflow.start_run(run_name="inner", nested=True):
    train()
""",
    "client": """
client = mlflow.MlflowClient()
run_id = client.create_run("0", run_name=name).info.run_id
train(lambda value, step: client.log_metric(run_id, "loss", value, step=step))
client.set_terminated(run_id)
""",
    "resumed": """
if len(sys.argv) > 2:
    with mlflow.start_run(run_name=name) as run:
        print(run.info.run_id)
else:
    first = subprocess.run([sys.executable, __file__, name, "first"], stdout=subprocess.PIPE, text=True, check=True)
    with mlflow.start_run(run_id=first.stdout.strip()):
        train()
""",
    "forked": IN_A_CHILD.format("fork"),
    "spawned": IN_A_CHILD.format("spawn"),
}
NAMES = [*KINDS, "inner"]
"""Names of all runs, which are those of their kinds."""
SHORT = {"AUTOINSTRUMENT_DEAD_AFTER": "15"}  # a worker gives signs of life more often, but may wait for a busy core
LIVE, DEAD = ("RUNNING", "in_progress", "live"), ("KILLED", "stopped", "synced")
COMPLETE = ("FINISHED", "completed", "synced")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.may_report("goes on, its Task was stopped|the worker process has died"),
]


class Trainings:
    """A training of each kind, and where its processes are."""

    def __init__(self, place: Place, server: ClearMLServer) -> None:
        self.place, self.server = place, server
        self.scripts = {kind: self._start(kind, script) for kind, script in KINDS.items()}
        wait_for(lambda: self.are(LIVE) and all(map(self._file_of, KINDS)))
        wait_for(lambda: all("hostname" in (task.get("runtime") or {}) for task in server.tasks))
        wait_for(lambda: all(self.printed(name) for name in NAMES))

    def _start(self, kind: str, script: str) -> Started:
        self.place.write(f"{kind}.py", START + script)
        temporary = self.place.temporary / kind  # a worker for each
        temporary.mkdir()
        more = {"AUTOINSTRUMENT_ABORT": "off", "TMPDIR": str(temporary), **SHORT}  # what comes back continues anyway
        return self.place.start("", command=[f"{kind}.py", kind], **more)

    def _file_of(self, kind: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.place.folder / f"{kind}.pid").read_text()
        return ""

    @property
    def processes(self) -> list[psutil.Process]:
        """The processes that own the runs: some are children of the scripts'."""
        return [psutil.Process(int(self._file_of(kind))) for kind in KINDS]

    def end(self) -> None:
        """Let all trainings end well."""
        (self.place.folder / "may end").touch()
        for script in self.scripts.values():
            done = script.finish()
            assert done.code == 0, done.stderr

    def states(self) -> dict[str, tuple[str, str, str]]:
        """Return MLflow's status, ClearML's, and the link's state of each run, by its name."""
        found = {}
        for run in self.place.mlflow_runs():
            with contextlib.suppress(ValueError):  # it has no Task yet
                status = str(task_of(self.server, run.info.run_id)["status"])
                found[run.info.run_name] = (run.info.status, status, link_tags(run).get("state", ""))
        return found

    def are(self, state: tuple[str, str, str]) -> bool:
        return self.states() == dict.fromkeys(NAMES, state)

    def reasons(self) -> dict[str, str]:
        """Return why the Tasks have ended, by the names of their runs."""
        runs = self.place.mlflow_runs()
        return {run.info.run_name: task_of(self.server, run.info.run_id)["status_reason"] for run in runs}

    def printed(self, name: str) -> int:
        """Return how often a run's console has its line."""
        task = task_of(self.server, self.place.run_named(name).info.run_id)
        of_kind = "nested" if name == "inner" else name
        return Counter(self.server.console(task["id"]).splitlines())[f"{of_kind} is at work"]

    def assert_whole(self) -> None:
        """Each Task has all points, each line once, and `verify` finds no difference."""
        for run in self.place.mlflow_runs():
            assert scalars(self.server, task_of(self.server, run.info.run_id)["id"]) == self.place.points(
                run.info.run_id
            )
            assert run.info.end_time >= run.info.start_time
        assert {name: self.printed(name) for name in NAMES} == dict.fromkeys(NAMES, 1)
        verified = self.place.command("verify")
        assert (verified.code, verified.stdout) == (0, f"{len(NAMES)} the same, 0 different\n"), verified.stdout


@pytest.fixture
def trainings(own_place: Place, own_server: ClearMLServer) -> Trainings:
    return Trainings(own_place, own_server)


@pytest.fixture
def followers(own_place: Place, trainings: Trainings) -> Iterator[None]:
    """`sync --follow` on two other machines, which have journals of their own: the result is that of one."""
    command = ["-m", "autoinstrument", "sync", "--all", "--follow"]
    started = [
        own_place.start(
            "", command=command, agent=False, AUTOINSTRUMENT_HOME=str(own_place.folder / elsewhere), **SHORT
        )
        for elsewhere in ("first", "second")
    ]
    yield
    for each in started:
        each.kill(signal.SIGTERM)
        assert each.finish().code == 0


def test_their_processes_die(trainings: Trainings, followers: None) -> None:
    """Their workers end the Tasks at once."""
    for process in trainings.processes:
        process.kill()
    wait_for(lambda: trainings.are(DEAD))
    assert all(reason.startswith("the process died with the run") for reason in trainings.reasons().values())
    trainings.assert_whole()


def test_their_workers_die(trainings: Trainings, followers: None) -> None:
    """Other workers go on, and followers leave the runs alone."""
    for worker in trainings.place.workers():
        worker.kill()
    trainings.end()
    wait_for(lambda: trainings.are(COMPLETE))
    trainings.assert_whole()


def test_their_pods_are_evicted(trainings: Trainings, followers: None) -> None:
    """Nothing of them is left to report an end."""
    workers = trainings.place.workers()
    for worker in workers:
        worker.suspend()
    for process in [*trainings.processes, *workers]:
        process.kill()
    wait_for(lambda: trainings.are(DEAD))
    for run in trainings.place.mlflow_runs():
        task = task_of(trainings.server, run.info.run_id)
        assert task["status_reason"].startswith("no sign of life since ")
        assert task["status_reason"].endswith(f" from {task['runtime']['hostname']}")
    trainings.assert_whole()


def test_their_machine_sleeps_and_wakes_up(trainings: Trainings, followers: None) -> None:
    """The runs are taken up again: both sides say that they are running, and how they end in the end."""
    stopped = [*trainings.processes, *trainings.place.workers()]
    for process in stopped:
        process.suspend()
    wait_for(lambda: trainings.are(DEAD))
    for process in stopped:
        process.resume()
    wait_for(lambda: trainings.are(LIVE))
    trainings.end()
    wait_for(lambda: trainings.are(COMPLETE))
    trainings.assert_whole()
