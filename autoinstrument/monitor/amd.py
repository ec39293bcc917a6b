"""GPUs of AMD, read through ROCm's library `rocm_smi`.

Functions are those of `rocm_smi.h` (ROCm 4.5 to 7.0); ClearML's own monitor uses the same library. How much memory one
process has is not read: the library adds up all GPUs.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from autoinstrument.monitor.gpus import Gpu, memory_figures

_NAME = "librocm_smi64.so"
_NAMES = (_NAME, f"{_NAME}.1", f"{_NAME}.7", f"{_NAME}.6", f"{_NAME}.5")
"""A package of the library alone has no name without a version."""
_VRAM = 0
_EDGE, _JUNCTION, _CURRENT = 0, 1, 0
"""Sensors, of which the large accelerators have only the second, and the metric of a temperature."""


class AmdGpus:
    """A session of the library, for one thread. Figures that a GPU does not have are missing."""

    driver = "amdgpu"
    library = "ROCm"

    def __init__(self) -> None:
        """Begin a session.

        Raises:
            OSError: there is no such library, or it does not answer.
        """
        self._rocm = _load()
        if self._rocm.rsmi_init(ctypes.c_uint64(0)):
            raise OSError("rsmi_init fails")

    def read(self, *, processes: bool) -> list[Gpu]:
        """See `GpuLibrary.read`; no GPU knows its processes.

        Raises:
            OSError: the library does not answer any more.
        """
        count = self._ask("rsmi_num_monitor_devices", ctypes.c_uint32())
        if count is None:
            raise OSError("rsmi_num_monitor_devices fails")
        return [Gpu(index, self._uuid(index), "", True, self._figures(index), None) for index in range(count)]

    def close(self) -> None:
        """See `GpuLibrary.close`."""
        self._rocm.rsmi_shut_down()

    def _uuid(self, index: int) -> str:
        number = self._ask("rsmi_dev_unique_id_get", ctypes.c_uint64(), index)
        return f"GPU-{number:016x}" if number else ""  # as `rocminfo` and ROCR_VISIBLE_DEVICES name it

    def _figures(self, index: int) -> dict[str, float]:
        figures: dict[str, float] = {}
        if (busy := self._ask("rsmi_dev_busy_percent_get", ctypes.c_uint32(), index)) is not None:
            figures["utilization"] = float(busy)
        for sensor in (_JUNCTION, _EDGE):
            millidegrees = self._ask("rsmi_dev_temp_metric_get", ctypes.c_int64(), index, sensor, _CURRENT)
            if millidegrees is not None:
                figures["temperature"] = millidegrees / 1000
        if (microwatts := self._power(index)) is not None:
            figures["power_draw"] = microwatts / 1_000_000
        used = self._ask("rsmi_dev_memory_usage_get", ctypes.c_uint64(), index, _VRAM)
        total = self._ask("rsmi_dev_memory_total_get", ctypes.c_uint64(), index, _VRAM)
        return figures | memory_figures(used, total) if used is not None and total else figures

    def _power(self, index: int) -> int | None:
        average = self._ask("rsmi_dev_power_ave_get", ctypes.c_uint64(), index, 0)
        if average is not None:
            return average
        value, kind = ctypes.c_uint64(), ctypes.c_int()
        ask = getattr(self._rocm, "rsmi_dev_power_get", None)  # ROCm 6.0: accelerators that have no average
        if ask is None or ask(ctypes.c_uint32(index), ctypes.byref(value), ctypes.byref(kind)):
            return None
        return value.value

    def _ask(self, function: str, into: Any, *arguments: int) -> int | None:
        """Return what a function writes into a variable, None if it fails, or if this version does not have it."""
        ask = getattr(self._rocm, function, None)
        if ask is None or ask(*map(ctypes.c_uint32, arguments), ctypes.byref(into)):
            return None
        return int(into.value)


def _load() -> Any:
    installed = Path(os.environ.get("ROCM_PATH") or "/opt/rocm", "lib", _NAME)
    for name in (str(installed), *_NAMES):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError(f"there is no {_NAME}")
