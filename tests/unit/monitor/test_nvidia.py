"""NVIDIA's GPUs through the real binding, over a library that has answers from a file."""

from __future__ import annotations

import os
import sys
import types

import pytest

from autoinstrument.clearml_api.gpu_binding import nvml_binding
from autoinstrument.monitor import nvidia
from autoinstrument.monitor.nvidia import NvidiaGpus
from tests.unit.monitor.conftest import FakeGpus

TWO = (
    "gpus 2",
    "utilization 0 37", "power 0 61500", "temperature 0 48", "used 0 2048", "total 0 8192",
    "utilization 1 99", "used 1 4096", "total 1 8192",
)  # fmt: skip


@pytest.fixture(params=["nvidia-ml-py", "clearml"])
def binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed binding, and the copy that clearml has, which is used where the other is not installed."""
    if request.param == "clearml":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    else:
        pytest.importorskip("pynvml")
    found = nvml_binding().__name__
    assert found == ("clearml.utilities.gpu.pynvml" if request.param == "clearml" else "pynvml")


@pytest.mark.usefixtures("binding")
def test_figures_have_clearmls_names_and_units(fake: FakeGpus) -> None:
    """A figure that a GPU does not have is missing: no 100 % is made up, as ClearML's monitor does."""
    fake.answer(*TWO)
    first, second = NvidiaGpus().read(processes=False)
    assert first.figures == {
        "temperature": 48.0, "utilization": 37.0, "power_draw": 61.5,
        "mem_used_gb": 2.0, "mem_free_gb": 6.0, "mem_usage": 25.0,
    }  # fmt: skip
    assert second.figures == {"utilization": 99.0, "mem_used_gb": 4.0, "mem_free_gb": 4.0, "mem_usage": 50.0}
    assert [(gpu.number, gpu.uuid, gpu.processes) for gpu in (first, second)] == [
        (0, "GPU-00000000-a", None), (1, "GPU-00000001-a", None),
    ]  # fmt: skip


@pytest.mark.usefixtures("binding")
def test_memory_of_processes(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answer(*TWO, f"pid 0 {os.getpid()}", "pid_used 0 1024")
    gpus = NvidiaGpus()
    monkeypatch.setattr(nvidia, "_shares_ids", lambda: True)
    assert [gpu.processes for gpu in gpus.read(processes=True)] == [{os.getpid(): 1.0}, {}]
    # In a container the driver's process ids are those of the machine.
    monkeypatch.setattr(nvidia, "_shares_ids", lambda: False)
    assert [gpu.processes for gpu in gpus.read(processes=True)] == [None, None]


@pytest.mark.usefixtures("binding")
def test_instances_stand_for_their_gpu(fake: FakeGpus) -> None:
    """The driver knows no load of an instance (NVML's documentation); the temperature is that of the GPU."""
    fake.answer("gpus 2", "mig 2", "temperature 0 50", "used 100 512", "total 100 1024", "utilization 1 5")
    found = NvidiaGpus().read(processes=False)
    assert [(gpu.number, gpu.instance) for gpu in found] == [(0, "MIG-00000000-a"), (0, "MIG-00000001-a"), (1, "")]
    assert found[0].figures == {"temperature": 50.0, "mem_used_gb": 0.5, "mem_free_gb": 0.5, "mem_usage": 50.0}
    assert found[1].figures == {"temperature": 50.0}
    assert found[2].figures == {"utilization": 5.0}


@pytest.mark.usefixtures("binding")
def test_a_gpu_that_is_lost_leaves_the_others_their_numbers(fake: FakeGpus) -> None:
    fake.answer(*TWO, "lost 0 1")
    lost, other = NvidiaGpus().read(processes=True)
    assert (lost.figures, other.number, other.figures["utilization"]) == ({}, 1, 99.0)


@pytest.mark.usefixtures("binding")
@pytest.mark.parametrize("error", [1, 9, 18])
def test_a_session_that_has_become_useless_raises(fake: FakeGpus, error: int) -> None:
    """Uninitialised, driver not loaded, another version of the driver: after an update or a reset."""
    fake.answer(*TWO)
    gpus = NvidiaGpus()
    fake.answer(*TWO, f"error {error}")
    with pytest.raises(Exception, match=r"."):
        gpus.read(processes=False)


def test_without_the_library_no_binding_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_LIBRARY", "libnvidia-ml-that-is-nowhere.so.1")
    monkeypatch.setattr(nvidia, "nvml_binding", pytest.fail)
    with pytest.raises(OSError, match="nowhere"):
        NvidiaGpus()


def test_without_a_driver_there_is_no_session(fake: FakeGpus) -> None:
    fake.answer("gpus 0")
    with pytest.raises(nvml_binding().NVMLError):
        NvidiaGpus()


def test_a_module_of_that_name_that_raises_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "pynvml":
                raise RuntimeError(name)

    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert isinstance(nvml_binding(), types.ModuleType)
