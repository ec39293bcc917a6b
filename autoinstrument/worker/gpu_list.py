"""The GPUs of this machine, for the description of a Task's machine."""

from __future__ import annotations

import contextlib
import functools
import threading

from autoinstrument.guard import guard
from autoinstrument.monitor.nvidia import NvidiaGpus, loaded_binding
from autoinstrument.monitor.power_management import are_asleep
from autoinstrument.named_tuple import NamedTuple

_PATIENCE_S = 2.0


class GpuSpecs(NamedTuple):
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


def gpus() -> list[GpuSpecs]:
    """Return all GPUs of NVIDIA that the driver lists, as they were when this was called first.

    None without the driver, while all of them sleep, or if the driver does not answer within two seconds.
    """
    thread, found = _reading()
    thread.join(_PATIENCE_S)
    return list(found)


@functools.cache
def _reading() -> tuple[threading.Thread, list[GpuSpecs]]:
    """Begin to read the GPUs; a driver that hangs keeps one thread, and the captures of no run."""
    found: list[GpuSpecs] = []

    def read() -> None:
        with guard("reading which GPUs there are"):
            found.extend(_read())

    thread = threading.Thread(target=read, name="autoinstrument-gpus", daemon=True)
    thread.start()
    return thread, found


def _read() -> list[GpuSpecs]:
    if are_asleep(NvidiaGpus.driver):
        return []
    try:
        nvml = loaded_binding()
        nvml.nvmlInit()
    except Exception:  # no library, no driver, or no permission: then there is nothing to describe
        return []
    try:
        driver, version = _text(nvml.nvmlSystemGetDriverVersion()), int(nvml.nvmlSystemGetCudaDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        cuda = f"{version // 1000}.{version % 1000 // 10}"
        return [
            GpuSpecs(
                _text(nvml.nvmlDeviceGetName(handle)), int(nvml.nvmlDeviceGetMemoryInfo(handle).total), driver, cuda
            )
            for handle in handles
        ]
    except nvml.NVMLError:  # a GPU that has fallen off the bus, or is in use by another virtual machine
        return []
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """Return a text of NVML; nvidia-ml-py before 11.515 returns bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
