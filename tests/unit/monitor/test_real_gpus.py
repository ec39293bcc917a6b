"""The comparison with `nvidia-smi` finds differences; it runs on a machine with GPUs, and here without one."""

from __future__ import annotations

import pytest

from autoinstrument.monitor import nvidia
from autoinstrument.worker.gpu_list import GpuSpecs
from tests import real_gpus
from tests.unit.monitor.conftest import FakeGpus

ROW = ["GPU-00000000-a", "H100", "550.54", "8192", "37", "48", "61.5", "2048", "6144"]


@pytest.fixture
def smi(fake: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The one row of nvidia-smi, which can be changed."""
    fake.answer("gpus 1", "utilization 0 37", "power 0 61500", "temperature 0 48", "used 0 2048", "total 0 8192")
    row = list(ROW)
    monkeypatch.setattr(real_gpus, "ask", lambda what, *fields: [row])
    monkeypatch.setattr(real_gpus, "gpu_list", lambda: [GpuSpecs("H100", 8192 * 2**20, "550.54", "12.4")])
    monkeypatch.setattr(real_gpus, "HOLD", "import sys; print('ready', flush=True); sys.stdin.read()")
    monkeypatch.setattr(nvidia, "_shares_ids", lambda: False)
    return row


def test_nothing_differs(smi: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert real_gpus.main() == 0
    assert capsys.readouterr().out.endswith("nothing differs\n")


@pytest.mark.parametrize(
    ("at", "text", "line"),
    [
        (0, "GPU-other", "GPU 0: ('GPU-00000000-a',"),
        (3, "16384", "GPU 0: 8192 and 16384 MiB in all"),
        (5, "78", "GPU 0: temperature is 48.00 and 78.00"),
        (6, "[N/A]", "GPU 0: power_draw is 61.5 and None"),
        (7, "4096", "GPU 0: mem_used_gb is 2.00 and 4.00"),
    ],
)
def test_differences_are_named(
    smi: list[str], capsys: pytest.CaptureFixture[str], at: int, text: str, line: str
) -> None:
    smi[at] = text
    assert real_gpus.main() == 1
    assert f"differs: {line}" in capsys.readouterr().out


def test_a_process_without_memory_is_reported(
    smi: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nvidia, "_shares_ids", lambda: True)
    assert real_gpus.main() == 1
    assert "which has a gigabyte, is not among {} on GPU 0" in capsys.readouterr().out
