"""When a session with the driver's library begins and ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.monitor import gpu_session, power_management
from autoinstrument.monitor.amd import AmdGpus
from autoinstrument.monitor.gpu_session import GpuSession
from autoinstrument.monitor.nvidia import NvidiaGpus
from tests.unit.monitor.conftest import FakeGpus


class Nothing(NvidiaGpus):
    def __init__(self) -> None:
        raise OSError("no such library")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_session, "_RETRY_S", 0.0)
    monkeypatch.setattr(gpu_session, "_SLEEPERS_S", 0.0)


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files in which Linux describes one NVIDIA GPU's power."""
    power = tmp_path / "nvidia" / "0000:01:00.0" / "power"
    power.mkdir(parents=True)
    (power / "control").write_text("on\n")
    (power / "runtime_status").write_text("active\n")
    monkeypatch.setattr(power_management, "_DRIVERS", tmp_path)
    return power


def test_one_session_is_kept_until_it_is_closed(fake: FakeGpus) -> None:
    fake.answer("gpus 1", "utilization 0 5")
    session = GpuSession([NvidiaGpus])
    assert [session.read(processes=False)[0].figures for _ in range(3)] == [{"utilization": 5.0}] * 3
    assert fake.log() == "("
    session.close()
    session.close()
    assert fake.log() == "()"


def test_the_first_library_that_has_gpus_is_used(fake: FakeGpus) -> None:
    fake.answer("gpus 1")
    assert GpuSession([Nothing, NvidiaGpus, AmdGpus]).read(processes=False)[0].is_amd is False
    assert GpuSession([Nothing, AmdGpus]).read(processes=False)[0].is_amd is True
    assert GpuSession([Nothing]).read(processes=False) == []


def test_a_driver_that_is_reset_is_found_again(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in the log reports it, however often it happens."""
    session = GpuSession([NvidiaGpus])
    lines: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda _, text, *values: lines.append(text % values))
    for _ in range(2):
        fake.answer("gpus 1", "utilization 0 5")
        assert len(session.read(processes=False)) == 1
        fake.answer("gpus 1", "error 1")
        assert session.read(processes=False) == session.gpus == []
        fake.answer("gpus 0")
        assert session.read(processes=False) == []
    assert sum("NVML does not answer" in line for line in lines) == 1


def test_a_driver_without_gpus_is_asked_again_only_after_a_pause(
    fake: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_session, "_RETRY_S", 3600.0)
    fake.answer("gpus 0")
    session = GpuSession([NvidiaGpus])
    for _ in range(3):
        session.read(processes=False)
    assert fake.log() == "("


def test_a_sleeping_gpu_is_not_woken(fake: FakeGpus, devices: Path) -> None:
    fake.answer("gpus 1")
    (devices / "runtime_status").write_text("suspended\n")
    session = GpuSession([NvidiaGpus])
    assert session.read(processes=False) == []
    assert fake.log() == ""
    (devices / "runtime_status").write_text("active\n")
    assert len(session.read(processes=False)) == 1


def test_a_gpu_that_may_sleep_is_not_kept_awake(fake: FakeGpus, devices: Path) -> None:
    fake.answer("gpus 1")
    session = GpuSession([NvidiaGpus])
    session.read(processes=False)
    assert fake.log() == "("
    (devices / "control").write_text("auto\n")
    session.read(processes=False)
    assert fake.log() == "()"
    session.read(processes=False)
    assert fake.log() == "()()"
