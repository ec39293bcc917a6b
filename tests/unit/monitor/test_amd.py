"""AMD's GPUs, over a library that has answers from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.monitor import amd
from autoinstrument.monitor.amd import AmdGpus
from tests.unit.monitor.conftest import FakeGpus


def test_figures_have_clearmls_names_and_units(fake: FakeGpus) -> None:
    fake.answer("gpus 2", "utilization 0 37", "power 0 61500", "temperature 0 48", "used 0 2048", "total 0 8192")
    gpus = AmdGpus()
    first, second = gpus.read(processes=True)
    assert first.figures == {
        "temperature": 48.0, "utilization": 37.0, "power_draw": 61.5,
        "mem_used_gb": 2.0, "mem_free_gb": 6.0, "mem_usage": 25.0,
    }  # fmt: skip
    assert (first.uuid, first.is_amd, first.processes) == ("GPU-000000000000abc0", True, None)
    assert second.figures == {}
    gpus.close()
    assert fake.log() == "[]"


def test_a_library_that_does_not_answer_any_more_raises(fake: FakeGpus) -> None:
    fake.answer("gpus 1")
    gpus = AmdGpus()
    fake.answer("gpus 1", "error 8")
    with pytest.raises(OSError, match="rsmi_num_monitor_devices"):
        gpus.read(processes=False)


def test_without_library_or_driver_there_is_no_session(
    fake: FakeGpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answer("gpus 0")
    with pytest.raises(OSError, match="rsmi_init"):
        AmdGpus()
    monkeypatch.setenv("ROCM_PATH", str(tmp_path))
    monkeypatch.setattr(amd, "_NAMES", ("librocm_smi64-that-is-nowhere.so",))
    with pytest.raises(OSError, match="there is no"):
        AmdGpus()
