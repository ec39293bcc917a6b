"""Machine figures of real processes, read back with ClearML's SDK as a user would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.monitor import sampler
from autoinstrument.records import MetricsLogged, ProcessStarted, RunEnded, RunStarted
from autoinstrument.settings import read_settings
from autoinstrument.transport.protocol import encode
from autoinstrument.worker import resource_monitor
from autoinstrument.worker.resource_monitor import MonitorReporter
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.service import Worker
from autoinstrument.worker.training_process import TrainingProcess
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import task_of
from tests.unit.conftest import sdk_task
from tests.unit.mirror.runs import PROCESS

MACHINE = {"cpu_usage", "memory_free_gb", "memory_used_gb", "disk_free_percent", "process_cpu_usage"}


def run(run_id: str, **fields: Any) -> RunStarted:
    began_ms = int(time.time() * 1000)
    started = RunStarted(run_id, run_id[:4], "0", "exp", "sqlite:////x", "", "", began_ms, "", {}, False, True, "")
    return started._replace(**fields)


@pytest.fixture
def connect(
    server: ClearMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], socket.socket]]:
    """Connect a process, by its id, to a worker whose seconds are tenths of seconds."""
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(resource_monitor, "_REPORT_S", 1.0)
    monkeypatch.setattr(resource_monitor, "_LEAST_S", 0.3)
    monkeypatch.setattr(sampler, "SOON_S", 0.1)
    monkeypatch.setattr(sampler, "PROCESSES_S", 0.5)
    settings = read_settings({"AUTOINSTRUMENT_HOME": str(tmp_path / "home")})
    object.__setattr__(settings, "monitor_s", 0.1)
    worker = Worker(tmp_path, settings)
    working = threading.Thread(target=worker.run, daemon=True)
    sockets: list[socket.socket] = []

    def connect(pid: int) -> socket.socket:
        process_end, worker_end = socket.socketpair()
        sockets.append(process_end)
        worker.add(worker_end)
        if not working.is_alive():
            working.start()
        process_end.sendall(encode([PROCESS._replace(pid=pid, started_ms=int(time.time() * 1000))]))
        return process_end

    yield connect
    for each in sockets:
        each.close()


def read_back(task_id: str) -> dict[str, Any]:
    """Return the machine's curves as ClearML's SDK reads them."""
    curves: dict[str, Any] = sdk_task(task_id).get_reported_scalars()[":monitor:machine"]
    return curves


def monitored(server: ClearMLServer, run_id: str) -> dict[str, Any]:
    """Return the machine's curves of a run's Task, as soon as they are complete."""
    for _ in range(600):
        tasks = server.tasks_where(lambda task: run_id in str(task["hyperparams"]))
        if tasks and ":monitor:machine" in server.scalars(tasks[0]["id"]):
            found: dict[str, Any] = server.scalars(tasks[0]["id"])[":monitor:machine"]
            if found.keys() >= MACHINE:
                return found
        time.sleep(0.1)
    raise AssertionError("no figures")


def test_each_run_has_the_figures_of_its_own_processes(
    server: ClearMLServer, connect: Callable[[int], socket.socket]
) -> None:
    """Two processes, one with 200 MB more; all else is that of the machine. The server's last iteration stays."""
    code = "import sys; x = bytearray(int(sys.argv[1])); print(1, flush=True); input()"
    children = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for size in (1, 200 * 2**20)
    ]
    try:
        for number, child in enumerate(children):
            assert child.stdout is not None
            child.stdout.readline()
            run_id = str(number) * 32
            connection = connect(child.pid)
            connection.sendall(encode([run(run_id), MetricsLogged(run_id, [("loss", 1.0, 1, 4)])]))
        for number in range(2):
            monitored(server, str(number) * 32)
        small, large = (read_back(task_of(server, str(number) * 32)["id"]) for number in range(2))
        assert set(small["cpu_usage"]["x"]) == {4}
        assert large["memory_used_gb"]["y"][0] - small["memory_used_gb"]["y"][0] == pytest.approx(200 / 1024, rel=0.1)
        assert task_of(server, "1" * 32)["last_iteration"] == 4
    finally:
        for child in children:
            child.communicate()


@pytest.mark.real_pauses
def test_a_short_run_has_one_point_at_its_end(
    server: ClearMLServer, connect: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_monitor, "_REPORT_S", 3600.0)
    connection = connect(os.getpid())
    run_id = "a" * 32
    connection.sendall(encode([run(run_id)]))
    time.sleep(2)
    connection.sendall(encode([RunEnded(run_id, "FINISHED", int(time.time() * 1000), "", False)]))
    curves = monitored(server, run_id)
    assert {len(points) for points in curves.values()} == {1}


def test_the_task_of_a_task_init_is_left_to_its_own_monitor(
    server: ClearMLServer, connect: Callable[[int], socket.socket]
) -> None:
    connection = connect(os.getpid())
    own, other = "b" * 32, "c" * 32
    points = [MetricsLogged(run_id, [("loss", 1.0, 1, 4)]) for run_id in (own, other)]
    connection.sendall(encode([run(own, has_own_monitor=True), run(other), *points]))
    monitored(server, other)
    assert ":monitor:machine" not in server.scalars(task_of(server, own)["id"])


@pytest.mark.parametrize(
    ("variables", "node"),
    [
        ({}, 0),
        ({"GROUP_RANK": "2", "RANK": "5"}, 2),
        ({"RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 1),
        ({"RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 0),
        ({"SLURM_NODEID": "3"}, 3),
        ({"NODE_RANK": "first"}, 0),
    ],
)
def test_the_record_of_a_process_names_its_machine_in_a_distributed_training(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], node: int
) -> None:
    from autoinstrument.capture.process import Changes

    for name in ("GROUP_RANK", "NODE_RANK", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Changes().describe().node == node


def test_the_record_of_a_process_names_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may set the variable itself, which no other process could see."""
    from autoinstrument.capture.process import Changes

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    described: ProcessStarted = Changes().describe()
    assert described.devices == {"CUDA_VISIBLE_DEVICES": "1"}


class Reported:
    """A run's mirror that keeps the reports."""

    has_own_monitor = False

    def __init__(self, *, resumed: bool = False) -> None:
        self.run = types.SimpleNamespace(resumed=resumed)
        self.values: list[dict[str, float]] = []

    def do(self, change: Callable[[], object]) -> None:
        change()

    def add_figures(self, values: dict[str, float], *_: object) -> None:
        self.values.append(values)


def registry(reported: Reported, node: int = 0) -> RunRegistry:
    """Return a registry with an open run of this process, which is on a machine with this number."""
    runs, process = RunRegistry(), TrainingProcess(socket.socket())
    process.start(PROCESS._replace(pid=os.getpid(), node=node))
    runs.processes.append(process)
    runs.mirrors["r"] = cast(Any, reported)
    runs.began(process, "r", owned=True)
    return runs


@pytest.mark.parametrize("first_s", [0.2, 3600.0])
def test_the_first_report_is_made_when_the_configuration_says(monkeypatch: pytest.MonkeyPatch, first_s: float) -> None:
    """A run that is shorter than that has none, also at its end."""
    monkeypatch.setattr(resource_monitor, "_REPORT_S", 3600.0)
    settings = MonitorSettings(first_report_s=first_s, of_machine=True)
    monitor = MonitorReporter(0.01, lambda ask, then: then(ask()), lambda: settings, with_gpus=False)
    reported = Reported()
    runs = registry(reported)
    until = time.monotonic() + (60 if first_s < 1 else 0.5)
    while not reported.values and time.monotonic() < until:
        monitor.update(runs)
        time.sleep(0.01)
    runs.open.clear()
    monitor.update(runs)
    if first_s < 1:
        assert reported.values[0]["memory_used_gb"] == pytest.approx(psutil.virtual_memory().used / 2**30, rel=0.5)
    else:
        assert reported.values == []


@pytest.mark.parametrize(("resumed", "name"), [(True, "memory_free_gb (node 1)"), (False, "memory_free_gb")])
def test_a_further_machine_of_one_run_has_curves_of_its_own(resumed: bool, name: str) -> None:
    """A run that this machine has begun is its own, whichever number the machine has."""
    settings = MonitorSettings(first_report_s=0.1)
    monitor = MonitorReporter(0.01, lambda ask, then: then(ask()), lambda: settings, with_gpus=False)
    reported = Reported(resumed=resumed)
    runs = registry(reported, node=1)
    until = time.monotonic() + 60
    while not reported.values and time.monotonic() < until:
        monitor.update(runs)
        time.sleep(0.01)
    runs.open.clear()
    monitor.update(runs)
    assert name in reported.values[0]
