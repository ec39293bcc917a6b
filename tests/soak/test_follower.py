"""A follower's memory and requests stay flat over a day of runs, compressed: none lasts longer than it must be seen."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from typing import Any

import psutil
from mlflow.entities import Metric, Param

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place
from tests.end_to_end.processes import AT_ONCE_S, wait_for
from tests.unit.cli.test_health import free_port

RUNS = int(os.environ.get("SOAK_RUNS", "20000"))
"""Runs of the whole test; a day of a busy server."""
AT_ONCE = min(100, RUNS // 5)
"""Runs that are running at a time."""
_WARM = 3
"""Batches after which everything is imported, and all caches are filled."""
_FLAT_MB = 30
"""Allowed variation of a process's memory; 100 bytes that are kept of each run would be 2 MB, a run itself 200 MB."""


def begin(place: Place, experiment: str, number: int) -> str:
    client, now = place.client, int(time.time() * 1000)
    run_id: str = client.create_run(experiment, run_name=f"run {number}").info.run_id
    points = [Metric("loss", 1 / (step + 1), now + step, step) for step in range(20)]
    client.log_batch(run_id, points, [Param(f"p{n}", "value") for n in range(20)])
    return run_id


def test_a_day_of_runs(own_place: Place, own_server: ClearMLServer) -> None:
    port, running = free_port(), list[str]()
    experiment = own_place.client.create_experiment("soak")
    options = ["--all", "--follow", "--live", "--health", f"127.0.0.1:{port}"]
    command = ["-m", "autoinstrument", "sync", *options]
    following = own_place.start("", command=command, agent=False)
    memory: list[float] = []

    def value(name: str) -> float:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines())
        except OSError:
            assert following.process.poll() is None, following.finish().stderr
            return -1.0
        return float(lines.get(f"autoinstrument_sync_{name}", -1.0))

    def are(count: int) -> Any:
        return lambda: value("runs_followed") == count

    try:
        for batch in range(RUNS // AT_ONCE):
            running = [begin(own_place, experiment, batch * AT_ONCE + number) for number in range(AT_ONCE)]
            wait_for(are(AT_ONCE), 600)
            for run_id in running:
                own_place.client.log_metric(run_id, "loss", 0.01, step=20)
                own_place.client.set_terminated(run_id)
            wait_for(are(0), 600)
            memory.append(psutil.Process(following.process.pid).memory_info().rss / 2**20)
            own_server.clear_requests()
        assert value('runs_total{result="failed"}') == -1.0
    finally:
        following.kill(signal.SIGTERM)
        done = following.finish(AT_ONCE_S)
    assert done.code == 0, done.stderr
    assert len(own_server.tasks) == RUNS // AT_ONCE * AT_ONCE
    assert {task["status"] for task in own_server.tasks} == {"completed"}
    assert max(memory[_WARM:]) - memory[_WARM] < _FLAT_MB, memory
