"""GPUs of NVIDIA, read through NVML, the library of the driver."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

from autoinstrument.clearml_api.gpu_binding import nvml_binding
from autoinstrument.monitor.gpus import Gpu, memory_figures
from autoinstrument.monitor.machine import GB

_LIBRARY = "libnvidia-ml.so.1"
_GPU_TEMPERATURE = 0
_LOST = ("UNINITIALIZED", "DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH", "RESET_REQUIRED")
"""Errors after which a session is of no use any more."""

_INITIAL_NAMESPACE = "pid:[4026531836]"
"""Linux has given the namespace of the process ids outside of all containers this number since 3.8."""


def loaded_binding() -> Any:
    """Return NVML's binding; where there is no NVML, the binding, which is large, is not loaded.

    Raises:
        OSError: there is no NVML.
        ImportError: there is no binding of it.
    """
    if sys.platform != "win32":
        ctypes.CDLL(_LIBRARY)
    return nvml_binding()


class NvidiaGpus:
    """A session of NVML, for one thread. Figures that a GPU or the driver does not have are missing."""

    driver = "nvidia"
    library = "NVML"

    def __init__(self) -> None:
        """Begin a session.

        Raises:
            Exception: there is no NVML, or it does not answer; its binding has many kinds of exceptions.
        """
        self._nvml: Any = loaded_binding()
        self._nvml.nvmlInit()

    def read(self, *, processes: bool) -> list[Gpu]:
        """Return all GPUs; the instances of one that is divided (MIG) instead of it, as ClearML's monitor does.

        Args:
            processes: also read how much memory each process has, which takes longer.

        Raises:
            Exception: NVML does not answer any more, as after a reset of the driver.
        """
        gpus = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            gpu = self._ask("nvmlDeviceGetHandleByIndex", index)
            if gpu is None:  # it has fallen off the bus; the others keep their numbers
                gpus.append(Gpu(index, "", "", is_amd=False, figures={}, processes=None))
                continue
            uuid = self._uuid(gpu)
            temperature = self._ask("nvmlDeviceGetTemperature", gpu, _GPU_TEMPERATURE)
            shared = {} if temperature is None else {"temperature": float(temperature)}
            instances = self._instances(gpu)
            for part in instances or [gpu]:
                figures = {**shared, **self._figures(part)}
                used = self._processes(part) if processes and _shares_ids() else None
                gpus.append(Gpu(index, uuid, self._uuid(part) if instances else "", False, figures, used))
        return gpus

    def close(self) -> None:
        """End the session, so that the driver may let the GPUs sleep."""
        self._ask("nvmlShutdown")

    def _uuid(self, handle: Any) -> str:
        uuid = self._ask("nvmlDeviceGetUUID", handle) or ""
        return uuid.decode(errors="replace") if isinstance(uuid, bytes) else str(uuid)  # bytes: before 11.5

    def _instances(self, gpu: Any) -> list[Any]:
        most = self._ask("nvmlDeviceGetMaxMigDeviceCount", gpu) or 0
        found = (self._ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu, number) for number in range(most))
        return [instance for instance in found if instance is not None]

    def _figures(self, handle: Any) -> dict[str, float]:
        """Return the figures of a GPU, or those that an instance has itself."""
        figures: dict[str, float] = {}
        if (rates := self._ask("nvmlDeviceGetUtilizationRates", handle)) is not None:
            figures["utilization"] = float(rates.gpu)
        if (milliwatts := self._ask("nvmlDeviceGetPowerUsage", handle)) is not None:
            figures["power_draw"] = milliwatts / 1000
        if (memory := self._ask("nvmlDeviceGetMemoryInfo", handle)) is not None:
            figures |= memory_figures(memory.used, memory.total)
        return figures

    def _processes(self, handle: Any) -> Mapping[int, float] | None:
        kinds = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
        lists = [found for kind in kinds if (found := self._ask(kind, handle)) is not None]
        if not lists:
            return None
        used: dict[int, float] = {}
        for process in (process for found in lists for process in found):
            if process.usedGpuMemory is None:  # Windows (WDDM)
                return None
            # A process that computes and draws is in both lists, with the same memory.
            used[process.pid] = max(used.get(process.pid, 0.0), process.usedGpuMemory / GB)
        return used

    def _ask(self, function: str, *arguments: Any) -> Any:
        """Return the answer of a function of NVML, None if there is none for this GPU, driver or binding.

        Raises:
            Exception: NVML itself does not answer.
        """
        ask = getattr(self._nvml, function, None)
        if ask is None:
            return None
        try:
            return ask(*arguments)
        except self._nvml.NVMLError as error:
            if getattr(error, "value", None) in [getattr(self._nvml, f"NVML_ERROR_{name}", None) for name in _LOST]:
                raise
            return None


@functools.cache
def _shares_ids() -> bool:
    """Return True if process ids mean the same here and to the driver, which knows those of the whole machine."""
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_NAMESPACE  # noqa: PTH115  (it is not a path)
    except OSError:  # no Linux
        return True
