"""Nothing that the server or the worker does makes training wait, or its memory grow."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil
import pytest

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags, scalars
from tests.end_to_end.processes import PATIENCE_S, wait_for
from tests.problems import OF_FAULTS

pytestmark = pytest.mark.may_report(OF_FAULTS)

POINTS = """
import pathlib, resource, sys, time
import mlflow.tracking
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore.log_batch = lambda *args, **more: None  # a million points take sqlite minutes
client, slowest_s, slowest_cpu_s = mlflow.tracking.MlflowClient(), 0.0, 0.0
with mlflow.start_run() as run:
    client.log_batch(run.info.run_id, metrics=[Metric("m", 0.0, 0, 0)])
    pathlib.Path("ready").write_text("now")
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 1_000_000, 1000):
        batch = [Metric("m", float(n), 1_700_000_000_000 + n, n) for n in range(start, start + 1000)]
        began, cpu = time.perf_counter(), time.process_time()
        client.log_batch(run.info.run_id, metrics=batch)
        slowest_s = max(slowest_s, time.perf_counter() - began)
        slowest_cpu_s = max(slowest_cpu_s, time.process_time() - cpu)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    pathlib.Path("figures").write_text(f"{grown} {slowest_s} {slowest_cpu_s}")
    while pathlib.Path("go").exists():
        time.sleep(0.05)
"""


WAITS_S = 3.0
"""A call that waits for a server or a worker takes longer; one that waits for a core on a busy machine may take it."""


class Figures(NamedTuple):
    """The cost of a million points in the training process; `cpu_s` is of all its threads, during one call."""

    grown_mb: float
    slowest_s: float
    slowest_cpu_s: float


def figures(place: Place) -> Figures:
    wait_for((place.folder / "figures").exists)
    time.sleep(0.1)
    return Figures(*map(float, (place.folder / "figures").read_text().split()))


@pytest.fixture
def plain_place(new_place: Callable[[ClearMLServer | None], Place]) -> Place:
    """A place for the same without the agent, at the same time: both are slow when the machine is busy.

    Its slowest call is the interpreter's garbage collection of all that MLflow loads.
    """
    return new_place(None)


def memory(place: Place) -> int:
    """Return the bytes of memory of the place's worker; 0 where there is none."""
    with contextlib.suppress(psutil.NoSuchProcess):  # the first process of a double fork
        return max((worker.memory_info().rss for worker in place.workers()), default=0)
    return 0


def settled_memory(place: Place) -> int:
    """Return the worker's memory once it has loaded all that it needs: it is the same three seconds long."""
    seen = [0]

    def is_settled() -> bool:
        time.sleep(0.25)
        seen.append(memory(place) >> 20 if len(place.workers()) == 1 else 0)
        return seen[-1] > 0 and len(set(seen[-12:])) == 1

    wait_for(is_settled)
    return memory(place)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["dead server", "hanging server", "stopped worker"])
def test_a_million_points_stay_within_the_bounds(
    own_place: Place, own_server: ClearMLServer, plain_place: Place, trouble: str
) -> None:
    """The bounds of docs/internals/evidence.md hold, and no wrapped call works or waits for other threads."""
    if trouble == "hanging server":
        own_server.faults.add(Fault(action="hang"))
    elif trouble == "dead server":
        own_server.close()
    started = own_place.start(POINTS, AUTOINSTRUMENT_EXIT_TIMEOUT="1")
    wait_for((own_place.folder / "ready").exists)
    wait_for(lambda: own_place.journals())
    idle = most = settled_memory(own_place)
    (worker,) = own_place.workers()
    if trouble == "stopped worker":
        worker.send_signal(signal.SIGSTOP)
    beside = plain_place.start(POINTS, agent=False)
    wait_for((plain_place.folder / "ready").exists)
    for place in (plain_place, own_place):
        (place.folder / "go").touch()
    while not (own_place.folder / "figures").exists():
        most = max(most, memory(own_place))
        time.sleep(0.05)
        assert time.monotonic() - started.since < PATIENCE_S
    found, plain = figures(own_place), figures(plain_place)
    for _ in range(20):
        time.sleep(0.1)
        most = max(most, memory(own_place))
    print(f"{trouble}: {found}, without the agent {plain}; worker {idle >> 20} MB, at most {most >> 20} MB")
    if trouble == "stopped worker":
        worker.send_signal(signal.SIGCONT)
    for place, script in ((plain_place, beside), (own_place, started)):
        (place.folder / "go").unlink()
        assert script.finish().code == 0
    assert found.grown_mb < plain.grown_mb + 64
    assert most - idle < 160 * 2**20
    assert found.slowest_cpu_s < 2 * plain.slowest_cpu_s + 0.1
    assert found.slowest_s < 4 * plain.slowest_s + WAITS_S


def test_console_is_on_disk_while_a_request_hangs(own_place: Place, own_server: ClearMLServer) -> None:
    """All processes are killed while the server hangs: earlier text is on disk soon, and `sync` delivers it.

    So is text in a run that began, and after one that ended, while the request was in progress.
    """
    script = """
        import pathlib, time, mlflow
        with mlflow.start_run(run_name="outer"):
            mlflow.log_metric("loss", 1.0)
            pathlib.Path("ready").write_text("now")
            while not pathlib.Path("go").exists():
                time.sleep(0.05)
            mlflow.log_metric("loss", 2.0)
            time.sleep(3)
            with mlflow.start_run(nested=True):
                print("inside", flush=True)
            for n in range(1000):
                print("line", n, flush=True)
                pathlib.Path("printing").write_text(str(n))
                pathlib.Path("printing").replace("printed")
                time.sleep(0.1)
        """
    started = own_place.start(script)
    wait_for((own_place.folder / "ready").exists)
    wait_for(lambda: own_server.calls("events.add_batch"))
    own_server.faults.add(Fault(action="hang"))
    (own_place.folder / "go").touch()
    wait_for((own_place.folder / "printed").exists)
    (worker,) = own_place.workers()
    before = int((own_place.folder / "printed").read_text())
    wait_for(lambda: f"line {before}\n" in own_place.console_on_disk())
    worker.kill()
    started.kill(signal.SIGKILL)
    started.finish()
    assert f"line {before}\n" in own_place.console_on_disk()
    own_server.faults.clear()
    assert own_place.command("sync").code == 0
    run = own_place.run_named("outer")
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "stopped"
    assert "inside\n" in own_server.console(task["id"])
    assert f"line {before}\n" in own_server.console(task["id"])
    assert link_tags(run)["state"] == "synced"


def test_a_worker_that_was_stopped_for_a_while_delivers_all(own_place: Place, own_server: ClearMLServer) -> None:
    """Training goes on meanwhile; the worker, awake again, ends no living run and loses nothing."""
    script = """
        import pathlib, time, mlflow
        with mlflow.start_run():
            for step in range(20):
                mlflow.log_metric("loss", step, step=step)
            pathlib.Path("ready").write_text("now")
            while not pathlib.Path("go").exists():
                mlflow.log_metric("loss", step, step=step)
                print("x" * 3000, flush=True)
                time.sleep(0.01)
            time.sleep(4)
            mlflow.log_metric("loss", 7.0, step=100)
        """
    started = own_place.start(script)
    wait_for((own_place.folder / "ready").exists)
    wait_for(lambda: own_server.calls("events.add_batch"))
    (first,) = own_place.workers()
    first.send_signal(signal.SIGSTOP)
    time.sleep(5)
    first.send_signal(signal.SIGCONT)
    time.sleep(3)
    assert [task["status"] for task in own_server.tasks] == ["in_progress"]
    (own_place.folder / "go").touch()
    assert started.finish().code == 0
    run = own_place.the_run()
    if link_tags(run)["state"] != "synced":
        assert own_place.command("sync").code == 0
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert scalars(own_server, task["id"]) == own_place.points(run.info.run_id)
