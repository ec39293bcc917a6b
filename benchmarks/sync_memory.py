"""Measure `autoinstrument sync` of large stores: `python benchmarks/sync_memory.py --points 1000000` or `--runs 2000`.

Fills an MLflow store (sqlite), starts the ClearML server made for tests in a process of its own, syncs, and prints
seconds and the peak of the command's resident memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parent.parent


def fill(uri: str, database: Path, runs: int, points: int) -> None:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("large", artifact_location=str(database.parent / "artifacts"))
    ids = []
    for _ in range(runs):
        run_id = client.create_run(experiment).info.run_id
        client.log_metric(run_id, "loss", 0.0, timestamp=1, step=0)
        client.set_terminated(run_id)
        ids.append(run_id)
    rows = [(run_id, n) for run_id in ids for n in range(1, points)]
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('loss', ?, ?, ?, ?, 0)",
            ((1 / (n + 1), n + 1, run_id, n) for run_id, n in rows),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--points", type=int, default=1)
    parser.add_argument("--jobs", default="1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        uri = f"sqlite:///{database}"
        fill(uri, database, options.runs, options.points)
        command = [sys.executable, "-m", "tests.clearml_server", "--port", "0"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            environ = {**os.environ, "MLFLOW_TRACKING_URI": uri, "AUTOINSTRUMENT_HOME": f"{folder}/home"}
            assert server.stdout is not None
            for line in server.stdout:
                name, _, value = line.removeprefix("export ").strip().partition("=")
                environ[name] = value.strip("'")
                if name == "CLEARML_API_SECRET_KEY":
                    break
            for turn in ("first", "second"):
                began = time.monotonic()
                done = subprocess.run(
                    [sys.executable, "-m", "autoinstrument", "sync", "--all", "--jobs", options.jobs],
                    env=environ, cwd=folder, capture_output=True, text=True, check=False,
                )  # fmt: skip
                peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
                took = time.monotonic() - began
                print(f"{turn}: {took:.1f} s, peak {peak:.0f} MB, code {done.returncode}", flush=True)
                print(done.stdout[-200:], done.stderr[-500:], flush=True)
            server.terminate()


if __name__ == "__main__":
    main()
