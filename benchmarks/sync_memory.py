"""Measure `autoinstrument sync` and `verify` of large stores: memory, seconds, CPU seconds.

`python3 benchmarks/sync_memory.py` runs each case and ten times as much of it, and reports whether memory stays the
same and time grows no faster; `--only server` chooses cases. With any of `--points`, `--runs`, `--metrics`, `--params`,
`--store` it runs that one case. Each case has an MLflow store of its own, and the ClearML server made for tests in a
process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MOST_MB = 20
"""MB by which the memory may grow for ten times as much."""
MOST_TIMES = 12
"""Factor by which the time may grow; the start takes some seconds in both cases."""
COMMANDS = {"first": ["sync", "--all"], "second": ["sync", "--all"], "verify": ["verify"]}


class Case(NamedTuple):
    """The content of a store: runs with so many points each, over so many metrics."""

    store: str = "sqlite"
    runs: int = 1
    points: int = 1
    metrics: int = 1
    params: int = 5

    def __str__(self) -> str:
        runs = f"{self.runs:,} runs with {self.params} params and" if self.runs > 1 else "a run with"
        over = f" over {self.metrics} metrics" if self.metrics > 1 else ""
        return f"{self.store}: {runs} {self.points:,} points{over}"


class Measured(NamedTuple):
    """One command: wall and CPU seconds, peak of resident memory in MB, exit code."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    code: int

    def __str__(self) -> str:
        failed = f", exit code {self.code}" if self.code else ""
        return f"{self.wall_s:.1f} s, {self.cpu_s:.1f} s of CPU, {self.peak_mb:.0f} MB{failed}"


PAIRS = {
    "one": (Case(points=100_000), Case(points=1_000_000)),
    "ten": (Case(points=100_000, metrics=10), Case(points=1_000_000, metrics=10)),
    "server": (Case("server", points=100_000), Case("server", points=1_000_000)),
    "file": (Case("file", points=100_000), Case("file", points=1_000_000)),
    "runs": (Case(runs=1000, points=20, metrics=5), Case(runs=10_000, points=20, metrics=5)),
}


def fill(case: Case, folder: Path) -> str:
    """Make the store in a folder, and return its tracking URI; `server` is a database for one."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    database = folder / "mlflow.db"
    uri = f"file://{folder / 'mlruns'}" if case.store == "file" else f"sqlite:///{database}"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("large", artifact_location=str(folder / "artifacts"))
    keys = [f"loss{n}" for n in range(case.metrics)]
    ids = []
    for _ in range(case.runs if case.store == "file" else 1):
        run_id = client.create_run(experiment).info.run_id
        client.log_batch(run_id, [Metric(key, 0.0, 1, 0) for key in keys])
        client.set_terminated(run_id)
        ids.append(run_id)
    steps = range(1, case.points // case.metrics)
    params = [(f"param {n}", str(n)) for n in range(case.params)]
    if case.store == "file":
        for run in (folder / "mlruns" / experiment / run_id for run_id in ids):
            for key in keys:
                with (run / "metrics" / key).open("a") as file:
                    file.writelines(f"{n + 1} {1 / (n + 1)} {n}\n" for n in steps)
            (run / "params").mkdir(exist_ok=True)
            for key, value in params:
                (run / "params" / key).write_text(value)
        return uri
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        ids += copies(connection, ids[0], case.runs - 1)
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)",
            ((key, 1 / (n + 1), n + 1, run_id, n) for run_id in ids for n in steps for key in keys),
        )
        connection.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            ((key, value, run_id) for run_id in ids for key, value in params),
        )
    return uri


def copies(connection: sqlite3.Connection, run_id: str, count: int) -> list[str]:
    """Copy a run's rows, which takes seconds for what the client takes half an hour for; return the ids."""
    ids = [uuid.uuid4().hex for _ in range(count)]
    other = {"run_uuid": ":id", "artifact_uri": "replace(artifact_uri, run_uuid, :id)"}
    for table in ("runs", "metrics", "latest_metrics", "params", "tags"):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(other.get(column, column) for column in columns)
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE run_uuid = :from",
            ({"id": each, "from": run_id} for each in ids),
        )
    return ids


@contextlib.contextmanager
def clearml_server(latency: str) -> Iterator[dict[str, str]]:
    """Run the ClearML server made for tests; give the environment that leads there."""
    command = [sys.executable, "-m", "tests.clearml_server", "--port", "0", "--latency", latency]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        environ = {}
        assert server.stdout is not None
        for line in server.stdout:
            name, _, value = line.removeprefix("export ").strip().partition("=")
            environ[name] = value.strip("'")
            if name == "CLEARML_API_SECRET_KEY":
                break
        try:
            yield environ
        finally:
            server.terminate()


@contextlib.contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[str]:
    """Run `mlflow server` on a database; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1"]
    with (folder / "server.log").open("w") as log, subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=folder, stdout=log, stderr=log
    ) as server:  # fmt: skip
        uri = f"http://127.0.0.1:{port}"
        while server.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5):
                break
            time.sleep(0.5)
        try:
            yield uri
        finally:
            server.terminate()


def measure(case: Case, latency: str, jobs: str, profile: str = "") -> Iterator[tuple[str, Measured]]:
    """Fill a store, and yield the cost of each command."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sync-benchmark-")))
        uri = fill(case, folder)
        environ = {**os.environ, **stack.enter_context(clearml_server(latency)), "PYTHONPATH": str(ROOT)}
        environ["MLFLOW_TRACKING_URI"] = (
            stack.enter_context(mlflow_server(uri, folder)) if case.store == "server" else uri
        )
        environ["AUTOINSTRUMENT_HOME"] = str(folder / "home")
        for name, words in COMMANDS.items():
            profiled = ["-m", "cProfile", "-o", f"{profile}.{name}"] if profile else []
            command = [sys.executable, *profiled, "-m", "autoinstrument", *words]
            yield name, run([*command, "--jobs", jobs] if "sync" in words else command, environ, folder)


def run(command: list[str], environ: dict[str, str], folder: Path) -> Measured:
    """Run a command to its end; show its output if it failed."""
    began, cpu = time.monotonic(), cpu_s()
    with (folder / "out.log").open("w") as out:
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=out, stderr=out)
        peaks = [0]
        watcher = threading.Thread(target=watch, args=(process.pid, peaks))
        watcher.start()
        process.wait()
    took = time.monotonic() - began
    watcher.join()
    if process.returncode:
        print((folder / "out.log").read_text()[-1000:], file=sys.stderr)
    return Measured(took, cpu_s() - cpu, peaks[-1] / 1024, process.returncode)


def watch(pid: int, peaks: list[int]) -> None:
    """Note the process's peak of resident memory, in kB, until it ends. (`ru_maxrss` begins with its parent's.)"""
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks.append(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
        except (OSError, StopIteration):
            return
        time.sleep(0.05)


def cpu_s() -> float:
    """Return the CPU time of the processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(names: list[str], latency: str, jobs: str) -> bool:
    """Print a table of the pairs of cases, and return whether all is as it must be."""
    print("| | command | a tenth of it | it | memory | |\n| --- | --- | ---: | ---: | ---: | --- |", flush=True)
    all_well = True
    for tenth, whole in (PAIRS[name] for name in names):
        few, many = dict(measure(tenth, latency, jobs)), dict(measure(whole, latency, jobs))
        for name, words in COMMANDS.items():
            more = many[name].peak_mb - few[name].peak_mb
            is_well = not (few[name].code or many[name].code) and more <= MOST_MB
            is_well = is_well and many[name].wall_s <= MOST_TIMES * few[name].wall_s
            all_well = all_well and is_well
            again = ", again" if name == "second" else ""
            cells = f"{whole} | `{' '.join(words)}`{again} | {few[name]} | {many[name]} | {more:+.0f} MB"
            print(f"| {cells} | {'yes' if is_well else '**no**'} |", flush=True)
    return all_well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,…", help=f"of {', '.join(PAIRS)}; all by default")
    parser.add_argument("--store", choices=("sqlite", "file", "server"), help="server: `mlflow server` on sqlite")
    for name in ("runs", "points", "metrics", "params"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--latency", default="0", help="seconds that the ClearML server waits before each answer")
    parser.add_argument("--jobs", default="1")
    parser.add_argument(
        "--profile", default="", metavar="FILE", help="write cProfile's figures to FILE.first and so on"
    )
    options = parser.parse_args()
    os.environ |= {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a dozen processes that nothing here needs
    given = {name: value for name in Case._fields if (value := getattr(options, name)) is not None}
    if not given:
        return (
            0 if compare(options.only.split(",") if options.only else list(PAIRS), options.latency, options.jobs) else 1
        )
    case = Case(**given)
    print(case, flush=True)
    for name, measured in measure(case, options.latency, options.jobs, options.profile):
        print(f"{name}: {measured}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
