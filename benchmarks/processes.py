"""Run measured scripts as whole processes, in turns, each with an MLflow store and folders of its own."""

from __future__ import annotations

import compileall
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
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import autoinstrument
from benchmarks import process_tree
from benchmarks.scripts import COMMON
from tests.clearml_server import ClearMLServer

_LOOK_S = 0.5
"""A look at the worker's memory costs 10 ms, on a core that the measured processes could use."""
_IDLE_S = 1.0
_PATIENCE_S = 60.0
FOREIGN = ("AUTOINSTRUMENT_", "CLEARML_", "TRAINS_", "MLFLOW_", "PYTEST", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE")


class Case(NamedTuple):
    """A script, and how it is run.

    Attributes:
        environ: variables on top.
        configuration: the text of its clearml.conf.
        prefix: words before the command, as `taskset -c 0`.
        before: how often the script is run before the measured one, so that a worker is there.
    """

    script: str
    environ: Mapping[str, str] = MappingProxyType({})
    configuration: str = ""
    prefix: tuple[str, ...] = ()
    before: int = 0


PLAIN: dict[str, str] = {}
AGENT = {"AUTOINSTRUMENT_ENABLED": "1"}
BEST = "sdk { development { report_use_subprocess: false } }"


class Measured(NamedTuple):
    """One script.

    Attributes:
        wall_s: until it has ended.
        cpu_s: CPU seconds of the script, with the processes that it waited for.
        workers_cpu_s: CPU seconds of the workers meanwhile, until they were idle.
        peak_mb: peak of its memory.
        worker_mb: peak of one worker's memory.
        workers_mb: largest sum of all workers' memory; pages that several share count once.
        requests: to ClearML.
        late_s: seconds from its end to the end of the last request with points.
        calls: seconds of its calls by name.
    """

    wall_s: float
    cpu_s: float
    workers_cpu_s: float
    peak_mb: float
    worker_mb: float
    workers_mb: float
    requests: int
    late_s: float
    calls: dict[str, list[float]]


class Bench:
    """A server of its own and an empty MLflow store to copy."""

    def __init__(self, server: ClearMLServer, folder: Path) -> None:
        self.server, self._folder = server, folder
        process_tree.adopt_orphans()
        self._site = _installed(folder / "site")
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
            environ |= (
                self.server.environ
                | {
                    "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "AUTOINSTRUMENT_HOME": str(folder / "home"),
                    "CLEARML_CONFIG_FILE": str(folder / "clearml.conf"),
                    "HOME": str(folder),
                    "TMPDIR": str(folder / "tmp"),
                    "PYTHONPATH": self._site,
                    "EMPTY_DATABASE": str(self._folder / "empty.db"),
                    "AUTOINSTRUMENT_WORKER_LINGER": "30" if case.before else "0",
                }
                | case.environ
            )
            known = {child.pid for child in process_tree.orphans(set())}
            for _ in range(case.before):
                self._run(case, folder, environ, known, seconds)
                time.sleep(_IDLE_S)  # the worker may close the Task after the script's end
            return self._run(case, folder, environ, known, seconds)

    def _run(self, case: Case, folder: Path, environ: dict[str, str], known: set[int], seconds: float) -> Measured:
        before = len(self.server.requests)
        workers_s = sum(process_tree.cpu_s(worker.pid) for worker in process_tree.orphans(known))
        began = time.perf_counter()
        process = subprocess.Popen(
            [*case.prefix, sys.executable, "train.py", "report.json"],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        worker_mb, workers_mb, looked_at, ended_workers_s = 0.0, 0.0, began, 0.0
        while (done := process_tree.reap(process.pid, block=False)) is None:
            ended = time.perf_counter()
            if ended - began > seconds:
                process.kill()
                raise SystemExit(f"a measured script did not end within {seconds:g} s")
            if ended - looked_at > _LOOK_S:
                workers = [worker.pid for worker in process_tree.orphans(known | {process.pid})]
                each = [process_tree.memory([worker]) for worker in workers]
                worker_mb = max([worker_mb, *(one.resident_mb for one in each)])
                workers_mb = max(workers_mb, sum(one.proportional_mb for one in each))
                looked_at = ended
            time.sleep(0.005)
        ended, ended_at = time.perf_counter(), time.time()
        process.returncode, cpu_s = done
        if process.returncode != 0:
            raise SystemExit(f"a measured script ended with exit code {process.returncode}")
        if case.before:
            self._await_silence()
            ended_workers_s = sum(process_tree.cpu_s(worker.pid) for worker in process_tree.orphans(known))
        else:
            ended_workers_s = process_tree.end_orphans(known, _PATIENCE_S)
        report: dict[str, Any] = json.loads((folder / "report.json").read_text())
        sent = [one.time + one.duration for one in self.server.requests[before:] if one.endpoint == "events.add_batch"]
        return Measured(
            ended - began, cpu_s, max(0.0, ended_workers_s - workers_s), report["peak_mb"], worker_mb, workers_mb,
            len(self.server.requests) - before, max([0.0, *(at - ended_at for at in sent)]), report["calls"],
        )  # fmt: skip

    def _await_silence(self) -> None:
        """Wait until no request has come for a while."""
        seen = -1
        while seen != len(self.server.requests):
            seen = len(self.server.requests)
            time.sleep(_IDLE_S)

    def in_turns(self, cases: dict[str, Case], repeats: int) -> dict[str, list[Measured]]:
        """Run every case in turns, in a new order each time."""
        measured: dict[str, list[Measured]] = {name: [] for name in cases}
        for _ in range(repeats):
            for name in random.sample(list(cases), len(cases)):
                known = {child.pid for child in process_tree.orphans(set())}
                measured[name].append(self.run(cases[name]))
                process_tree.end_orphans(known, 0.0)  # a worker that stays for later scripts
        return measured


def _installed(site: Path) -> str:
    """Put a copy of the agent where the measured processes find it, as an installation by pip would have it.

    Its modules are compiled: to do that at each start costs 0.1 s. And it is no checkout, as an editable installation
    is: of that, the worker asks Git for each script what other machines must install, by six commands.
    """
    package = Path(autoinstrument.__file__).parent
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for found in metadata.distributions(name=package.name):
        folder = Path(str(found.locate_file(f"{package.name}-{found.version}.dist-info")))
        if folder.is_dir():
            shutil.copytree(folder, site / folder.name, ignore=shutil.ignore_patterns("direct_url.json"))
            break
    for compiled in (site, package):  # the worker takes its modules from either
        compileall.compile_dir(compiled, quiet=1)
    return str(site)


@contextmanager
def bench() -> Iterator[Bench]:
    """Give a bench; its server and folder go with it."""
    with ClearMLServer() as server, tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        known = {child.pid for child in process_tree.orphans(set())}
        try:
            yield Bench(server, Path(folder))
        finally:
            process_tree.end_orphans(known, 0.0)


def median(measured: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return statistics.median(map(value, measured))
