"""A run's share of the figures: its GPUs, the memory of its processes on them, and the whole machine."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from autoinstrument.monitor.gpus import Gpu
from autoinstrument.monitor.process_trees import TreeUsage
from autoinstrument.monitor.run_figures import RunFigures, WatchedProcess
from autoinstrument.monitor.sampler import Sampler

FIGURES = ("utilization", "mem_used_gb")


@pytest.fixture
def sampler() -> Sampler:
    """Two GPUs, of which the process 7 uses 3 GB of the second; no thread reads anything."""
    sampler = Sampler(1.0, None)
    sampler.gpus = [Gpu(number, f"GPU-{number}", "", False, {}, None) for number in range(2)]
    sampler.gpu_processes = [{99: 8.0}, {7: 3.0, 99: 1.0}]
    return sampler


def read(sampler: Sampler) -> None:
    sampler.machine.add({"cpu_usage": 50.0, "memory_used_gb": 20.0})
    sampler.gpu.add({f"gpu_{gpu}_{name}": 10.0 * (gpu + 1) for gpu in range(2) for name in FIGURES})
    sampler.trees, sampler.trees_at = {7: TreeUsage(frozenset({7}), 2.0, 25.0)}, time.monotonic()


def watched(sampler: Sampler, **devices: str) -> RunFigures:
    figures = RunFigures(sampler)
    figures.processes = [WatchedProcess(7, devices)]
    read(sampler)
    return figures


OWN: dict[str, Any] = {"cpu_usage": 50.0, "memory_used_gb": 2.0, "process_cpu_usage": 25.0}


def test_the_memory_of_a_gpu_is_that_of_the_runs_processes(sampler: Sampler) -> None:
    assert watched(sampler).report() == {
        **OWN, "gpu_0_utilization": 10.0, "gpu_0_mem_used_gb": 0.0, "gpu_1_utilization": 20.0, "gpu_1_mem_used_gb": 3.0,
    }  # fmt: skip


def test_gpus_that_the_process_may_not_see_are_left_out(sampler: Sampler) -> None:
    figures = watched(sampler, CUDA_VISIBLE_DEVICES="1").report()
    assert figures == {**OWN, "gpu_1_utilization": 20.0, "gpu_1_mem_used_gb": 3.0}
    assert watched(sampler, CUDA_VISIBLE_DEVICES="").report() == OWN


def test_the_gpus_of_several_processes_are_joined(sampler: Sampler) -> None:
    figures = watched(sampler, CUDA_VISIBLE_DEVICES="0")
    figures.processes = [*figures.processes, WatchedProcess(8, {"CUDA_VISIBLE_DEVICES": "1"})]
    assert {name for name in figures.report() if name.startswith("gpu_")} == {
        f"gpu_{gpu}_{name}" for gpu in range(2) for name in FIGURES
    }


def test_the_whole_gpu_where_its_processes_are_not_known(sampler: Sampler) -> None:
    """In a container, the driver's process ids are those of another namespace."""
    sampler.gpu_processes = [None, None]
    assert watched(sampler).report()["gpu_1_mem_used_gb"] == 20.0


def test_the_memory_of_the_machine_if_that_is_configured(sampler: Sampler) -> None:
    figures = watched(sampler, CUDA_VISIBLE_DEVICES="1").report(of_machine=True)
    assert figures == {**OWN, "memory_used_gb": 20.0, "gpu_1_utilization": 20.0, "gpu_1_mem_used_gb": 20.0}


def test_a_process_that_was_not_looked_at_has_no_figures(sampler: Sampler) -> None:
    figures = watched(sampler)
    sampler.trees_at = -math.inf
    found = figures.report()
    assert "memory_used_gb" not in found
    assert found["gpu_1_mem_used_gb"] == 20.0


def test_each_report_has_what_was_read_since_the_last_one(sampler: Sampler) -> None:
    figures = watched(sampler, CUDA_VISIBLE_DEVICES="")
    assert not figures.has_reported
    figures.report()
    assert figures.has_reported
    sampler.machine.add({"cpu_usage": 90.0})
    assert figures.report()["cpu_usage"] == 90.0
    assert "cpu_usage" not in figures.report()
