"""`doctor`'s line about the GPUs, through the real binding of NVML."""

from __future__ import annotations

import threading

import pytest

from autoinstrument.cli import gpu_checks
from autoinstrument.cli.gpu_checks import gpus
from autoinstrument.monitor import nvidia
from autoinstrument.monitor.amd import AmdGpus
from autoinstrument.monitor.nvidia import NvidiaGpus
from tests.unit.monitor.conftest import FakeGpus
from tests.unit.monitor.conftest import fake as fake
from tests.unit.monitor.conftest import library as library


def test_the_gpus_and_their_figures_are_listed(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_shares_ids", lambda: True)
    fake.answer("gpus 2", "utilization 0 5", "temperature 1 40")
    detail = "2 through NVML, visible here: {}; temperature, utilization; memory of each process"
    assert gpus({}) == ("GPUs", True, detail.format("gpu_0_*, gpu_1_*"), "")
    assert gpus({"CUDA_VISIBLE_DEVICES": "1"}).detail == detail.format("gpu_1_*")
    monkeypatch.setattr(nvidia, "_shares_ids", lambda: False)
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}).detail.endswith(
        "visible here: none; temperature, utilization; memory of whole GPUs"
    )
    assert fake.log() == "()()()"


def test_a_machine_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(NvidiaGpus):
        def __init__(self) -> None:
            raise OSError("no such library")

    monkeypatch.setattr(gpu_checks, "LIBRARIES", (Nothing,))
    assert gpus({}) == ("GPUs", None, "none found (NVML, ROCm)", "")


def test_a_driver_that_fails_or_hangs(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answer("gpus 1", "error 1")
    found = gpus({})
    assert (found.ok, found.detail.startswith("NVML does not answer: ")) == (None, True)
    may_go_on = threading.Event()

    class Hanging(AmdGpus):
        def __init__(self) -> None:
            may_go_on.wait()
            raise OSError

    monkeypatch.setattr(gpu_checks, "LIBRARIES", (Hanging,))
    monkeypatch.setattr(gpu_checks, "_LIMIT_S", 0.1)
    found = gpus({})
    may_go_on.set()
    assert (found.ok, found.detail) == (False, "the driver does not answer within 0 s")
