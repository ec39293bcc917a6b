"""The GPUs of this machine, for the description of a Task's machine."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Gpu(NamedTuple):
    """One GPU.

    Attributes:
        name: the model, as "NVIDIA H100 80GB HBM3".
        memory_bytes: all of its memory.
        driver: version of the driver.
        cuda: newest version of CUDA that the driver knows, as "12.4"; "" if it is not known.
    """

    name: str
    memory_bytes: int
    driver: str
    cuda: str


def gpus() -> list[Gpu]:
    """Return all GPUs of NVIDIA that the driver lists; none without the driver, or without the package nvidia-ml-py."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no such package, no driver, or no permission: then there is nothing to describe
        return []
    try:
        driver, version = _text(nvml.nvmlSystemGetDriverVersion()), int(nvml.nvmlSystemGetCudaDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        cuda = f"{version // 1000}.{version % 1000 // 10}"
        return [
            Gpu(_text(nvml.nvmlDeviceGetName(handle)), int(nvml.nvmlDeviceGetMemoryInfo(handle).total), driver, cuda)
            for handle in handles
        ]
    except nvml.NVMLError:  # a GPU that has fallen off the bus, or is in use by another virtual machine
        return []
    finally:
        nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """Return a text of NVML; nvidia-ml-py before 11.515 returns bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
