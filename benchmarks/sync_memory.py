"""Measure `autoinstrument sync` of large stores: `python benchmarks/sync_memory.py --points 1000000` or `--runs 2000`.

Fills an MLflow store (sqlite), starts the ClearML server made for tests in a process of its own, syncs it twice, and
prints seconds, CPU seconds and peak of resident memory of the command.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parent.parent


def fill(uri: str, database: Path, runs: int, points: int, params: int) -> None:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("large", artifact_location=str(database.parent / "artifacts"))
    ids = []
    for _ in range(runs):
        run_id = client.create_run(experiment).info.run_id
        client.log_metric(run_id, "loss", 0.0, timestamp=1, step=0)
        client.set_terminated(run_id)
        ids.append(run_id)
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('loss', ?, ?, ?, ?, 0)",
            ((1 / (n + 1), n + 1, run_id, n) for run_id in ids for n in range(1, points)),
        )
        connection.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            ((f"param {n}", str(n), run_id) for run_id in ids for n in range(params)),
        )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--points", type=int, default=1)
    parser.add_argument("--params", type=int, default=20)
    parser.add_argument("--latency", default="0", help="seconds that the ClearML server waits before each answer")
    parser.add_argument(
        "--profile", default="", metavar="FILE", help="write cProfile's figures of the first sync there"
    )
    parser.add_argument("--jobs", default="1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        uri = f"sqlite:///{database}"
        fill(uri, database, options.runs, options.points, options.params)
        command = [sys.executable, "-m", "tests.clearml_server", "--port", "0", "--latency", options.latency]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            environ = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "MLFLOW_TRACKING_URI": uri,
                "AUTOINSTRUMENT_HOME": f"{folder}/home",
            }
            assert server.stdout is not None
            for line in server.stdout:
                name, _, value = line.removeprefix("export ").strip().partition("=")
                environ[name] = value.strip("'")
                if name == "CLEARML_API_SECRET_KEY":
                    break
            for turn in ("first", "second"):
                began, cpu = time.monotonic(), cpu_s()
                profile = ["-m", "cProfile", "-o", options.profile] if options.profile and turn == "first" else []
                process = subprocess.Popen(
                    [sys.executable, *profile, "-m", "autoinstrument", "sync", "--all", "--jobs", options.jobs],
                    env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )  # fmt: skip
                peaks: list[int] = []
                watcher = threading.Thread(target=watch, args=(process.pid, peaks))
                watcher.start()
                out, err = process.communicate()
                watcher.join()
                took, cpu = time.monotonic() - began, cpu_s() - cpu
                used = f"{took:.1f} s, {cpu:.1f} s of CPU, peak {peaks[-1] / 1024:.0f} MB"
                print(f"{turn}: {used}, code {process.returncode}", flush=True)
                print(out[-200:], err[-500:], flush=True)
            server.terminate()


if __name__ == "__main__":
    main()
