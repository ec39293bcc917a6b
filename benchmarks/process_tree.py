"""Count the CPU time and memory of a command and of all that it starts, detached workers included (Linux).

This process becomes a subreaper (prctl(2)): a process whose parent has ended becomes a child of this one, however it
was detached, and its CPU time is known exactly when it has ended, with that of the children that it waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_PR_SET_CHILD_SUBREAPER = 36


class Memory(NamedTuple):
    """Resident memory of several processes, in MB: the sum, and the sum in which shared pages count once."""

    resident_mb: float
    proportional_mb: float


def adopt_orphans() -> None:
    """Become the parent of each process below this one whose own parent ends.

    Raises:
        OSError: this is not Linux.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl") or libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "needs Linux")


def reap(pid: int, *, block: bool = True) -> tuple[int, float] | None:
    """Wait for a child; return its exit code and CPU seconds, None if it is still running."""
    done, status, usage = os.wait4(pid, 0 if block else os.WNOHANG)
    return (os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime) if done else None


def orphans(known: set[int]) -> list[psutil.Process]:
    """Return the children of this process that it did not start itself (`known`): workers that have detached."""
    return [child for child in psutil.Process().children() if child.pid not in known]


def end_orphans(known: set[int], patience_s: float) -> float:
    """Wait for all orphans to end, kill what is left after `patience_s`, and return their CPU seconds."""
    used_s, until = 0.0, time.monotonic() + patience_s
    while left := orphans(known):
        for child in left:
            is_late = time.monotonic() >= until
            if is_late:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            ended = reap(child.pid, block=is_late)
            used_s += ended[1] if ended else 0.0
        time.sleep(0.02)
    return used_s


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a running process and of its children that have ended, to a hundredth."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def memory(pids: list[int]) -> Memory:
    """Return the memory of running processes."""
    resident = proportional = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                resident += int(value.split()[0]) if name == "Rss" else 0
                proportional += int(value.split()[0]) if name == "Pss" else 0
    return Memory(resident / 1024, proportional / 1024)
