"""The threads that read figures, while a driver hangs, and while there is nothing to look at."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from autoinstrument.monitor import sampler
from autoinstrument.monitor.gpu_session import GpuSession
from autoinstrument.monitor.gpus import Gpu
from autoinstrument.monitor.nvidia import NvidiaGpus
from autoinstrument.monitor.sampler import Sampler
from tests.unit.monitor.conftest import FakeGpus


def wait_for(state: Callable[[], object]) -> None:
    for _ in range(6000):
        if state():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to that")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "SOON_S", 0.0)


def test_a_driver_that_hangs_blocks_nothing_else() -> None:
    """The machine and the processes are read on; runs can begin and end."""
    is_hanging, may_go_on = threading.Event(), threading.Event()

    class Hanging(NvidiaGpus):
        def __init__(self) -> None:
            pass

        def read(self, *, processes: bool) -> list[Gpu]:
            is_hanging.set()
            may_go_on.wait()
            return []

    found = Sampler(0.01, GpuSession([Hanging]))
    try:
        found.watch([os.getpid()])
        assert is_hanging.wait(60)
        start = found.machine.now()
        wait_for(lambda: "memory_free_gb" in found.machine.since(start))
        wait_for(lambda: os.getpid() in found.trees)
        assert found.gpus == []
        found.watch([])
        found.watch([os.getpid()])
    finally:
        found.watch([])
        may_go_on.set()


def test_without_processes_nothing_is_read_and_the_gpus_may_sleep(fake: FakeGpus) -> None:
    fake.answer("gpus 1", "utilization 0 5")
    found = Sampler(0.01, GpuSession([NvidiaGpus]))
    found.watch([os.getpid()])
    wait_for(lambda: found.gpu.now())
    assert [gpu.number for gpu in found.gpus] == [0]
    found.watch([])
    wait_for(lambda: fake.log().endswith(")"))
    before = found.gpu.now()
    time.sleep(0.1)
    assert found.gpu.now() is before
