"""Compare the GPU figures of a Task made here with those of `Task.init`: `python -m tests.real_gpu_runs`.

Like `tests.real_gpus` it needs a machine with NVIDIA's driver and torch with CUDA. It takes some two minutes: one
script keeps the GPU busy, once with this package and MLflow, once with the SDK's own `Task.init`, both with one second
between samples. Both Tasks must have the same curves, about the same figures, and the same words on their Info page.
Exit code 1 if something differs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.clearml_server import ClearMLServer
from tests.real_gpus import report

TRAIN = """
x = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
held = torch.zeros(2**30, device="cuda")  # 4 GiB
end, step = time.monotonic() + SECONDS, 0
while time.monotonic() < end:
    for _ in range(20):
        y = x @ x
    torch.cuda.synchronize()
    if step % 50 == 0:
        report("step", step, step)
    step += 1
"""
LINKED = """
import time, torch, mlflow
mlflow.start_run(run_name="linked")
report = lambda name, value, step: mlflow.log_metric(name, value, step=step)
"""
BY_HAND = """
import time, torch
from clearml import Task
task = Task.init("by hand", "by hand", auto_connect_frameworks=False)
report = lambda name, value, step: task.get_logger().report_scalar(name, name, value, step)
"""
CONFIGURATION = """
sdk.development { report_use_subprocess: false, worker { report_period_sec: 2, report_start_sec: 1,
  wait_for_first_iteration_to_start_sec: 1, max_wait_for_first_iteration_to_start_sec: 1 } }
"""
MONITOR = (":monitor:gpu", ":monitor:machine")
TOLERANCES = {"utilization": 25.0, "temperature": 12.0, "power_draw": 150.0, "mem_used_gb": 1.0, "mem_free_gb": 1.0,
              "mem_usage": 3.0}  # fmt: skip
"""By the words in a series' name: how far the medians of the two Tasks may be apart, in the series' unit."""


def trained(server: ClearMLServer, script: str, folder: Path, seconds: int, enabled: bool) -> dict[str, Any]:
    """Run a script, with this package or without it, and return its Task."""
    before = {task["id"] for task in server.tasks}
    configuration = folder / "clearml.conf"
    configuration.write_text(CONFIGURATION)
    environ = {
        **os.environ, **server.environ, "CLEARML_CONFIG_FILE": str(configuration),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "AUTOINSTRUMENT_ENABLED": str(int(enabled)),
        "AUTOINSTRUMENT_MONITOR": "1",
    }  # fmt: skip
    file = folder / "train.py"
    file.write_text(script + TRAIN.replace("SECONDS", str(seconds)))
    subprocess.run([sys.executable, str(file)], env=environ, cwd=folder, check=True, timeout=300)
    (task,) = (task for task in server.tasks if task["id"] not in before)
    return task


def medians(server: ClearMLServer, task: dict[str, Any]) -> dict[tuple[str, str], tuple[float, int]]:
    """Return by title and series of the monitor the median and the number of points."""
    return {
        (title, series): (statistics.median(point[1] for point in points), len(points))
        for title, curves in server.scalars(task["id"]).items()
        if title in MONITOR
        for series, points in curves.items()
    }


def differences(server: ClearMLServer, linked: dict[str, Any], by_hand: dict[str, Any]) -> Iterator[str]:
    """Yield how the first Task differs from the second one; print the figures of both."""
    here, there = medians(server, linked), medians(server, by_hand)
    for key in sorted(here.keys() | there.keys()):
        print(key, here.get(key), there.get(key))
        if key not in here or (key not in there and key[0] == ":monitor:gpu"):
            yield f"{key} is only on the Task of {'this package' if key in here else 'Task.init'}"
            continue
        for word, tolerance in TOLERANCES.items():
            if key[0] == ":monitor:gpu" and word in key[1] and abs(here[key][0] - there[key][0]) > tolerance:
                yield f"{key}: {here[key][0]:.1f} and {there[key][0]:.1f}"
    of_run, of_sdk = (task.get("runtime") or {} for task in (linked, by_hand))
    for name in sorted(of_run.keys() | of_sdk.keys()):
        print(name, repr(of_run.get(name)), repr(of_sdk.get(name)))
        if name in of_sdk and "gpu" in name and of_run.get(name) != of_sdk[name]:
            yield f"runtime property {name} is {of_run.get(name)!r} and {of_sdk[name]!r}"


def main() -> int:
    """Train twice, compare, print the differences, and return the exit code."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with ClearMLServer() as server, tempfile.TemporaryDirectory() as folder:
        linked = trained(server, LINKED, Path(folder), seconds, True)
        by_hand = trained(server, BY_HAND, Path(folder), seconds, False)
        found = [*differences(server, linked, by_hand)]
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
