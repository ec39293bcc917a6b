"""`python3 -m benchmarks.follow_live`: what `sync --follow --live` costs, and how late a Task and its points are.

One `mlflow server` on a database with many runs that have ended, the ClearML server made for tests, and one follower.
Runs and points are written into MLflow's database by SQL, because a client would need as much CPU time as the follower.
A delay is measured from the commit until ClearML's server holds the Task, or the point.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.runs_by_sql import RunsBySql
from benchmarks.sync_memory import ROOT, Case, fill, mlflow_server
from tests.clearml_server import ClearMLServer

MOST_S = 15.0
"""Seconds until a Task, or a point, must be there."""
_LOOK_S = 0.5
_PATIENCE_S = 600.0
_METRICS, _LAST = 5, 9
"""Metrics of a run, and the step of the last point that a run begins with."""
_LOG_EVERY_S = 10.0
_KEYS = [f"loss{n}" for n in range(_METRICS)]


class Size(NamedTuple):
    """Size of the measurement.

    Attributes:
        ended: runs that have ended. burst: runs that begin at once, and go on. alone: runs that begin one by one.
        watch_s: seconds for which the costs are measured.
    """

    ended: int = 10_000
    burst: int = 200
    alone: int = 5
    watch_s: float = 60.0


FULL, SMALL = Size(), Size(100, 20, 2, 10.0)


class Store(RunsBySql):
    """The database behind MLflow's server."""

    def __init__(self, folder: Path, ended: int) -> None:
        self.uri = fill(Case(runs=ended, points=50, metrics=_METRICS, params=20), folder)
        super().__init__(folder / "mlflow.db")


class Costs(NamedTuple):
    """The costs until now.

    Attributes:
        cpu_s: CPU seconds of the follower's processes. mlflow_s: of MLflow's server. clearml_s: of this process, which
            is ClearML's server.
        to_mlflow, to_clearml: the follower's requests.
    """

    cpu_s: float
    mlflow_s: float
    clearml_s: float
    to_mlflow: float
    to_clearml: float

    def __sub__(self, other: Costs) -> Costs:
        return Costs(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def a_minute(self, seconds: float) -> str:
        """Return the costs of a minute, for a person."""
        cpu_s, mlflow_s, _, to_mlflow, to_clearml = (60 / seconds * value for value in self)
        requests = f"{to_mlflow:.0f} requests to MLflow, {to_clearml:.0f} to ClearML"
        return f"{cpu_s:.1f} s of CPU, MLflow's server {mlflow_s:.1f} s; {requests}"

    def a_run(self, runs: int) -> str:
        """Return the CPU time of one of so many runs, for a person: load does not change it."""
        times = [f"{1000 * value / runs:.0f}" for value in self[:3]]
        return f"{' + '.join(times)} ms of CPU a run (follower, MLflow's and ClearML's server)"


class Follower:
    """A follower on its way."""

    def __init__(self, environ: dict[str, str], folder: Path, port: int, jobs: int) -> None:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        options = ["--all", "--since", since, "--jobs", str(jobs), "--follow", "--live"]
        command = [sys.executable, "-m", "autoinstrument", "sync", *options, "--health", f"127.0.0.1:{port}"]
        self.log, self._port = folder / "follower.log", port
        self._mlflow = environ["MLFLOW_TRACKING_URI"].rpartition("/")[2]
        with self.log.open("w") as out:
            self.process = psutil.Popen(command, env=environ, cwd=folder, stdout=out, stderr=out)

    def costs(self) -> Costs:
        """Return what it has cost so far."""
        own = [self.process, *self.process.children(recursive=True)]
        servers = [each for each in psutil.Process().children(recursive=True) if each not in own]
        requests = {True: 0.0, False: 0.0}
        for name, count in self._figures().items():
            if name.startswith("autoinstrument_sync_requests_total"):
                requests[f'server="{self._mlflow}"' in name] += count
        return Costs(_cpu_s(own), _cpu_s(servers), time.process_time(), requests[True], requests[False])

    def has_looked(self) -> bool:
        """Return True after its first look at the running runs."""
        return self._figures().get('autoinstrument_sync_looks_total{outcome="succeeded"}', 0) > 0

    def _figures(self) -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=60) as answer:
                lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        except OSError:
            if self.process.poll() is None:
                return {}
            raise
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def wait(is_so: Callable[[], bool], seconds: float = _PATIENCE_S) -> None:
    """Wait for a state.

    Raises:
        TimeoutError: it has not come.
    """
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"nothing for {seconds:.0f} s")
        time.sleep(_LOOK_S)


class Delays:
    """When ClearML's server has taken what was logged, by the requests that it has recorded."""

    def __init__(self, server: ClearMLServer) -> None:
        self._server = server
        self._read = 0
        self._started: dict[str, float] = {}
        self._points: dict[tuple[str, int], set[str]] = {}
        self._complete: dict[tuple[str, int], float] = {}

    def of_tasks(self, ids: list[str], began: float) -> list[float]:
        """Return the seconds from a time until each run has a running Task."""
        return self._until(lambda tasks: [self._started.get(task) for task in tasks], ids, began)

    def of_points(self, ids: list[str], step: int, began: float) -> list[float]:
        """Return the seconds from a time until each run's Task has the points of all metrics at a step."""
        return self._until(lambda tasks: [self._complete.get((task, step)) for task in tasks], ids, began)

    def _until(self, times: Callable[[list[str]], list[float | None]], ids: list[str], began: float) -> list[float]:
        found: list[float | None] = []

        def are_all() -> bool:
            self._take()
            tasks = self._tasks(ids)
            found[:] = times(tasks)
            return len(tasks) == len(ids) and None not in found

        wait(are_all)
        return [at - began for at in found if at is not None]

    def _tasks(self, ids: list[str]) -> list[str]:
        by_run = {
            task["hyperparams"]["properties"]["mlflow_run_id"]["value"]: task["id"] for task in self._server.tasks
        }
        return [by_run[run_id] for run_id in ids if run_id in by_run]

    def _take(self) -> None:
        """Note the requests since the last time."""
        requests = self._server.requests
        for request in requests[self._read :]:
            at = request.time + request.duration
            if request.endpoint == "tasks.started":
                self._started.setdefault(request.body["task"], at)
            elif request.endpoint == "events.add_batch":
                for event in request.body:
                    key = event["task"], int(event.get("iter") or 0)
                    metrics = self._points.setdefault(key, set())
                    metrics.add(event.get("metric", ""))
                    if len(metrics) == _METRICS:
                        self._complete.setdefault(key, at)
        self._read = len(requests)


def measure(size: Size, jobs: int) -> Iterator[tuple[str, str, bool | None]]:
    """Follow a store; yield each figure with its value, and whether it is as it must be."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="follow-benchmark-")))
        store = Store(folder, size.ended)
        server = stack.enter_context(ClearMLServer())
        environ = {**os.environ, **server.environ, "PYTHONPATH": str(ROOT), "AUTOINSTRUMENT_HOME": str(folder / "home")}
        environ["MLFLOW_TRACKING_URI"] = stack.enter_context(mlflow_server(store.uri, folder))
        follower = Follower(environ, folder, _free_port(), jobs)
        stack.callback(follower.process.wait)
        stack.callback(follower.process.terminate)
        wait(follower.has_looked)
        delays = Delays(server)

        def figure(name: str, found: list[float]) -> tuple[str, str, bool]:
            middle = f", half after {statistics.median(found):.1f} s" if len(found) > 1 else ""
            return name, f"{max(found):.1f} s{middle}", max(found) <= MOST_S

        firsts, points = list[float](), list[float]()
        step = _LAST + 1  # after a gap, each metric's new points would be read by a request
        for _ in range(size.alone):
            began = time.time()
            ids = store.begin(1)
            firsts += delays.of_tasks(ids, began)
            delays.of_points(ids, _LAST, began)
            began = time.time()
            store.log(ids, _KEYS, step)
            points += delays.of_points(ids, step, began)
        yield figure("Task of a run that begins alone", firsts)
        yield figure("its points", points)

        before, began = follower.costs(), time.time()
        ids = store.begin(size.burst)
        name, value, reached = figure(f"Tasks of {size.burst} runs that begin at once", delays.of_tasks(ids, began))
        yield name, f"{value}; {(follower.costs() - before).a_run(size.burst)}", reached
        last = max(delays.of_points(ids, _LAST, began))
        yield "all that they had logged", f"{last:.1f} s; {(follower.costs() - before).a_run(size.burst)}", None
        began = time.time()
        store.log(ids, _KEYS, step)
        yield figure(f"then a point of each of {_METRICS} metrics in all of them", delays.of_points(ids, step, began))

        time.sleep(2 * _LOG_EVERY_S)
        before, began = follower.costs(), time.monotonic()
        time.sleep(size.watch_s)
        spent = (follower.costs() - before).a_minute(time.monotonic() - began)
        yield f"a minute at rest, {size.ended:,} runs ended, {size.burst} running", spent, None

        before, began = follower.costs(), time.monotonic()
        while time.monotonic() - began < size.watch_s:
            step += 1
            store.log(ids, _KEYS, step)
            time.sleep(_LOG_EVERY_S)
        spent = (follower.costs() - before).a_minute(time.monotonic() - began)
        yield f"a minute in which each logs {_METRICS} metrics every {_LOG_EVERY_S:.0f} s", spent, None
        memory = sum(each.memory_info().rss for each in (follower.process, *follower.process.children(recursive=True)))
        yield "memory of the follower's processes", f"{memory / 2**20:.0f} MB", None


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", action="store_true", help="with few runs: only shows that everything works")
    parser.add_argument("--jobs", type=int, default=1, help="processes of the follower (default 1)")
    options = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    machine = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    print(f"{machine}, load {os.getloadavg()[0]:.1f} at the beginning, `--jobs {options.jobs}`\n", flush=True)
    print("| figure | value | |\n| --- | --- | --- |", flush=True)
    is_well = True
    for name, value, reached in measure(SMALL if options.small else FULL, options.jobs):
        mark = {True: f"≤ {MOST_S:.0f} s: yes", False: f"≤ {MOST_S:.0f} s: **no**", None: ""}[reached]
        print(f"| {name} | {value} | {mark} |", flush=True)
        is_well = is_well and reached is not False
    print(f"\nload {os.getloadavg()[0]:.1f} at the end", flush=True)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
