"""Figures of the machine, beside those of ClearML's own monitor."""

from __future__ import annotations

import os
import time
import types
from typing import Any

import psutil
import pytest

from autoinstrument.monitor import machine
from autoinstrument.monitor.machine import MachineReader
from autoinstrument.monitor.process_trees import ProcessTrees
from tests.unit.monitor.conftest import FakeGpus


@pytest.fixture
def clearmls(monkeypatch: pytest.MonkeyPatch) -> Any:
    """ClearML's own monitor, which reports nowhere."""
    from clearml.utilities.resource_monitor import ResourceMonitor

    monkeypatch.setattr(ResourceMonitor, "_resource_monitor_instances", [])
    for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    logger = types.SimpleNamespace(report_text=print)
    monitor = ResourceMonitor(types.SimpleNamespace(get_logger=lambda: logger, id="1", session=None, is_main_task=bool))
    monitor._gpustat_fail = 0
    return monitor


def test_names_and_values_are_those_of_clearmls_monitor(
    clearmls: Any, fake: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All figures of both at one moment; rates are compared by their names, for the machine is not still."""
    fake.answer("gpus 0")
    reader = MachineReader()
    reader.read()
    time.sleep(0.05)
    figures = reader.read()
    figures["memory_used_gb"] = ProcessTrees().look([os.getpid()])[os.getpid()].memory_gb
    stats = clearmls._machine_stats()
    assert figures.keys() == stats.keys()
    assert figures["disk_free_percent"] == pytest.approx(stats["disk_free_percent"], abs=1)
    assert figures["memory_free_gb"] == pytest.approx(stats["memory_free_gb"], rel=0.2)
    assert figures["memory_used_gb"] == pytest.approx(stats["memory_used_gb"], rel=0.2)
    for name in ("cpu_usage", "io_read_mbs", "io_write_mbs", "network_rx_mbs", "network_tx_mbs"):
        assert figures[name] >= 0


def test_gpu_names_and_values_are_those_of_clearmls_monitor(
    clearmls: Any, fake: FakeGpus, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearml.utilities.gpu import gpustat

    from autoinstrument.monitor.gpus import name
    from autoinstrument.monitor.nvidia import NvidiaGpus

    collection = gpustat.GPUStatCollection
    monkeypatch.setattr(collection, "_running_in_amd_env", staticmethod(bool))
    for attribute, value in (("_initialized", False), ("_device_count", None), ("_gpu_device_info", {})):
        monkeypatch.setattr(collection, attribute, value)
    fake.answer(
        "gpus 2", "utilization 0 37", "power 0 61000", "temperature 0 48", "used 0 2048", "total 0 8192",
        "utilization 1 9", "power 1 20000", "temperature 1 30", "used 1 1024", "total 1 8192",
    )  # fmt: skip
    clearmls._gpustat, clearmls._process_info = gpustat, None  # all of a GPU's memory
    figures = {
        name(number, figure): value
        for number, gpu in enumerate(NvidiaGpus().read(processes=False))
        for figure, value in gpu.figures.items()
    }
    assert figures == clearmls._get_gpu_stats()


def test_rates_are_those_between_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a counter that has begun again, or a device that is gone, gives no false rate."""
    now = [100.0]
    monkeypatch.setattr(machine.time, "monotonic", lambda: now[0])
    net = psutil.net_io_counters(nowrap=False)
    sent = [50 * 2**20]
    monkeypatch.setattr(psutil, "net_io_counters", lambda nowrap: net._replace(bytes_sent=sent[0], bytes_recv=0))
    monkeypatch.setattr(psutil, "disk_io_counters", lambda nowrap: None)
    read = MachineReader().read
    assert "network_tx_mbs" not in read()
    now[0], sent[0] = 102.0, 60 * 2**20
    figures = read()
    assert (figures["network_tx_mbs"], figures["network_rx_mbs"]) == (5.0, 0.0)
    now[0], sent[0] = 104.0, 0
    assert "network_tx_mbs" not in read()


def test_figures_that_the_system_lacks_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError

    for name in ("net_io_counters", "disk_io_counters", "disk_usage"):
        monkeypatch.setattr(psutil, name, denied)
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    read = MachineReader().read
    read()
    time.sleep(0.02)
    assert read().keys() <= {"memory_free_gb", "memory_used_gb", "cpu_usage"}


def test_the_hottest_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = [types.SimpleNamespace(current=celsius) for celsius in (40.0, 55.0)]
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"coretemp": cores}, raising=False)
    assert MachineReader().read()["cpu_temperature"] == 55.0
