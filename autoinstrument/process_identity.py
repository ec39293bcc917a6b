"""What can be learned of a process that died without a word; Linux, as far as `/proc` and the control group tell."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import psutil

_CLOCK_S = 2.0
_GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def memory_kills() -> int:
    """Return how many processes the system has killed for want of memory, in our control group or else in all.

    `memory.events` of control group v2, `oom_kill` of `/proc/vmstat` (Linux 4.13 and later); 0 where neither is there.
    """
    group = _match(Path("/proc/self/cgroup"), r"^0::(.*)$")
    for path in (Path(f"/sys/fs/cgroup{group}/memory.events"), Path("/proc/vmstat")):
        count = _match(path, r"^oom_kill (\d+)$")
        if count:
            return int(count)
    return 0


def signal_of(pid: int) -> str:
    """Return the name of the signal that killed a process, while its parent has not taken its exit status; else "".

    The last field of `/proc/PID/stat` is the wait status of a zombie (proc(5)).
    """
    if not pid:
        return ""
    try:
        status = int(Path(f"/proc/{pid}/stat").read_text().rsplit(" ", 1)[1])
        return signal.Signals(status & 0x7F).name if status & 0x7F else ""
    except (OSError, ValueError, IndexError):
        return ""


def outlives(pid: int, started_ms: int, wait_s: float = 1.0) -> bool:
    """Tell whether a process is still at work that has closed its connection; a dying one closes it a moment before."""
    end = time.monotonic() + wait_s
    while is_alive(pid, started_ms):
        if time.monotonic() > end:
            return True
        time.sleep(0.02)
    return False


def is_alive(pid: int, started_ms: int) -> bool:
    """Tell whether a process of this machine runs; the time of its start tells it from a later one of the same id."""
    try:
        process = psutil.Process(pid)
        return process.status() not in _GONE and abs(process.create_time() - started_ms / 1000) < _CLOCK_S
    except (psutil.Error, ValueError):
        return False


def _match(path: Path, pattern: str) -> str:
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""
