"""GPUs of NVIDIA and of AMD on a machine that has none: a library with answers from a file, below the real bindings."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("fake_gpus.c")


class FakeGpus:
    """The file of answers; see fake_gpus.c."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.sessions = Path(f"{file}.log")

    def answer(self, *lines: str) -> None:
        self._file.write_text("\n".join([*lines, ""]))

    def log(self) -> str:
        """Return "(" for each session of NVML that began, ")" for each that ended; "[" and "]" for those of ROCm."""
        return self.sessions.read_text() if self.sessions.exists() else ""


def build(folder: Path) -> Path:
    """Compile the library; its name in the file is the one by which the binding of NVML looks for it."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-w", "-Wl,-soname,libnvidia-ml.so.1", "-o", str(library), str(_SOURCE)]
    subprocess.run(command, check=True)
    (folder / "lib").mkdir()
    shutil.copy(library, folder / "lib" / "librocm_smi64.so")
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("gpus"))
    # The loader takes a library that is loaded already, by its own name, for the one that is asked for (glibc).
    ctypes.CDLL(str(folder / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)
    return folder


@pytest.fixture
def fake(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus]:
    monkeypatch.setenv("FAKE_GPUS", str(tmp_path / "gpus"))
    monkeypatch.setenv("ROCM_PATH", str(library))
    return FakeGpus(tmp_path / "gpus")
