"""Figures of the whole machine, with the names and units of ClearML's own monitor.

Its reference is `ResourceMonitor._machine_stats` (clearml 1.16 to 2.1.12). Like it, this one reports what the system
reports, and knows no control groups: in a container, processor and free memory are those of the host, unless the system
itself shows the container's (lxcfs).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil

from autoinstrument.named_tuple import NamedTuple

GB, MB = 1024**3, 1024**2
MEMORY_USED = "memory_used_gb"
"""ClearML's name both for the memory of a run's processes and for that of the whole machine."""
_TEMPERATURE_S = 10.0
"""Seconds between two looks at the sensors: each one wakes its core."""


class _Counters(NamedTuple):
    """Values that only grow."""

    time_s: float
    busy_s: float
    cpu_s: float
    mb: dict[str, float]


class MachineReader:
    """Reads figures of the machine; rates are those since the previous reading."""

    def __init__(self) -> None:
        self._before: _Counters | None = None
        self._temperature: dict[str, float] = {}
        self._temperature_at = 0.0

    def read(self) -> dict[str, float]:
        """Return values by name; rates are missing at the first reading."""
        memory = psutil.virtual_memory()
        reading = {"memory_free_gb": memory.available / GB, MEMORY_USED: memory.used / GB}
        with contextlib.suppress(OSError, RuntimeError):  # there is no home directory
            reading["disk_free_percent"] = 100.0 - psutil.disk_usage(str(Path.home())).percent
        return reading | self._rates() | self._temperatures()

    def _rates(self) -> dict[str, float]:
        before, now = self._before, _counters()
        self._before = now
        if before is None or now.time_s <= before.time_s:
            return {}
        rates = {}
        if now.cpu_s > before.cpu_s:
            busy = 100.0 * (now.busy_s - before.busy_s) / (now.cpu_s - before.cpu_s)
            rates["cpu_usage"] = min(100.0, max(0.0, busy))
        for name, mb in now.mb.items():
            if mb >= before.mb.get(name, mb + 1):  # else a device is gone, or its counter has begun again
                rates[name] = (mb - before.mb[name]) / (now.time_s - before.time_s)
        return rates

    def _temperatures(self) -> dict[str, float]:
        if time.monotonic() >= self._temperature_at:
            self._temperature_at = time.monotonic() + _TEMPERATURE_S
            read = getattr(psutil, "sensors_temperatures", None)  # not on macOS and Windows
            sensors = (read().get("coretemp") or []) if read is not None else []
            self._temperature = {"cpu_temperature": max(each.current for each in sensors)} if sensors else {}
        return self._temperature


def _counters() -> _Counters:
    # Not `psutil.cpu_percent`, which remembers its last call: a script whose worker is a thread may call it too.
    cpu = psutil.cpu_times()
    guests = getattr(cpu, "guest", 0.0) + getattr(cpu, "guest_nice", 0.0)  # Linux counts them as user and nice, too
    total = sum(cpu) - guests
    mb: dict[str, float] = {}
    with contextlib.suppress(OSError, RuntimeError):
        if net := psutil.net_io_counters(nowrap=False):
            mb |= {"network_tx_mbs": net.bytes_sent / MB, "network_rx_mbs": net.bytes_recv / MB}
    with contextlib.suppress(OSError, RuntimeError):
        if disk := psutil.disk_io_counters(nowrap=False):  # None in a container without /sys
            mb |= {"io_read_mbs": disk.read_bytes / MB, "io_write_mbs": disk.write_bytes / MB}
    return _Counters(time.monotonic(), total - cpu.idle - getattr(cpu, "iowait", 0.0), total, mb)
