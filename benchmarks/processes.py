"""Run measured scripts as whole processes, in turns, each with an MLflow store and folders of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil

from benchmarks.scripts import COMMON
from tests.clearml_server import ClearMLServer

_LOOK_S = 0.5
"""A look at the worker's memory costs 10 ms, on a core that the measured processes could use."""
FOREIGN = ("AUTOINSTRUMENT_", "CLEARML_", "TRAINS_", "MLFLOW_", "PYTEST", "PYTHONSTARTUP")


class Case(NamedTuple):
    """A script, and how it is run.

    Attributes:
        environ: variables on top.
        configuration: the text of its clearml.conf.
    """

    script: str
    environ: Mapping[str, str] = MappingProxyType({})
    configuration: str = ""


PLAIN: dict[str, str] = {}
AGENT = {"AUTOINSTRUMENT_ENABLED": "1"}
BEST = "sdk { development { report_use_subprocess: false } }"


class Measured(NamedTuple):
    """One process: wall and CPU seconds, peaks of memory in MB, requests to ClearML, seconds of its calls by name."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    worker_mb: float
    requests: int
    calls: dict[str, list[float]]


class Bench:
    """A server of its own and an empty MLflow store to copy."""

    def __init__(self, server: ClearMLServer, folder: Path) -> None:
        self.server, self._folder = server, folder
        code = (
            "from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as S; import sys;"
            "S('sqlite:///' + sys.argv[1], sys.argv[2])"
        )
        subprocess.run(
            [sys.executable, "-c", code, folder / "empty.db", folder / "artifacts"], check=True, capture_output=True
        )

    def run(self, case: Case, seconds: float = 600) -> Measured:
        """Run a case to its end."""
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            folder = Path(name)
            shutil.copy(self._folder / "empty.db", folder / "mlflow.db")
            (folder / "train.py").write_text(COMMON + case.script)
            (folder / "clearml.conf").write_text(case.configuration)
            (folder / "tmp").mkdir()
            environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
            environ |= self.server.environ | {
                "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "AUTOINSTRUMENT_HOME": str(folder / "home"),
                "CLEARML_CONFIG_FILE": str(folder / "clearml.conf"),
                "HOME": str(folder),
                "TMPDIR": str(folder / "tmp"),
            }
            before = len(self.server.requests)
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "train.py", "report.json"],
                cwd=folder,
                env={**environ, **case.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            worker_mb, looked_at = 0.0, began
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                ended = time.perf_counter()
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    break
                if ended - began > seconds:
                    process.kill()
                    raise SystemExit(f"a measured script did not end within {seconds:g} s")
                if ended - looked_at > _LOOK_S:
                    worker_mb, looked_at = max(worker_mb, _worker_mb(folder)), ended
                time.sleep(0.005)
            if process.returncode != 0:
                raise SystemExit(f"a measured script ended with exit code {process.returncode}")
            self._settle(folder)
            report: dict[str, Any] = json.loads((folder / "report.json").read_text())
            return Measured(
                ended - began, usage.ru_utime + usage.ru_stime, report["peak_mb"], worker_mb,
                len(self.server.requests) - before, report["calls"],
            )  # fmt: skip

    def in_turns(self, cases: dict[str, Case], repeats: int) -> dict[str, list[Measured]]:
        """Run every case in turns, in a new order each time."""
        measured: dict[str, list[Measured]] = {name: [] for name in cases}
        for _ in range(repeats):
            for name in random.sample(list(cases), len(cases)):
                measured[name].append(self.run(cases[name]))
        return measured

    def _settle(self, folder: Path) -> None:
        """Wait until the worker has ended, so that it is not measured in the next process."""
        end = time.monotonic() + 5
        while _workers(folder) and time.monotonic() < end:
            time.sleep(0.05)
        for worker in _workers(folder):
            worker.kill()


@contextmanager
def bench() -> Iterator[Bench]:
    """Give a bench; its server and folder go with it."""
    with ClearMLServer() as server, tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        yield Bench(server, Path(folder))


def median(measured: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return statistics.median(map(value, measured))


def _workers(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def _worker_mb(folder: Path) -> float:
    peak = 0.0
    for worker in _workers(folder):
        try:
            for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) / 1024)
        except OSError:
            continue
    return peak
