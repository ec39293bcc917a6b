"""Find out whether GPUs sleep, or may: a question to the driver's library would wake them and keep them awake.

Laptops let a GPU sleep (Linux, runtime power management of PCI devices); `/sys` says so without waking it.
"""

from __future__ import annotations

from pathlib import Path

_DRIVERS = Path("/sys/bus/pci/drivers")


def are_asleep(driver: str) -> bool:
    """Return True if a kernel driver has devices, and all of them sleep."""
    states = _read(driver, "runtime_status")
    return bool(states) and all(state == "suspended" for state in states)


def may_sleep(driver: str) -> bool:
    """Return True if a device of a kernel driver may fall asleep while it is not used."""
    return "auto" in _read(driver, "control")


def _read(driver: str, name: str) -> list[str]:
    try:
        return [file.read_text().strip() for file in (_DRIVERS / driver).glob(f"????:??:??.?/power/{name}")]
    except (OSError, ValueError):
        return []
