"""Check whether a process is alive, and is the same one: the one rule for the worker and for the commands.

A process id alone proves nothing, because the system assigns it again. A process that was alive at some time is the one
that has its id now if the latter was created no later: two processes never have the same id at the same time. So any
time at which the process was known to be alive identifies it. The best one is its creation time as psutil reports it,
which the worker takes; the training process, which must not load psutil, reports the current time.

Only processes of this machine and of this namespace of process ids count, see `capture.machine`.
"""

from __future__ import annotations

import os
import time

import psutil

_CLOCK_S = 2.0
"""Creation times are computed from the clock and the time since boot; these drift apart when the clock is adjusted."""


def created_ms(pid: int) -> int:
    """Return when a process was created, in ms since the epoch; 0 if there is none, or no descriptor to look."""
    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except (psutil.Error, ValueError, OSError):
        return 0


def is_alive(pid: int, alive_ms: int) -> bool:
    """Return True if a process is still running.

    Args:
        pid: its id; 0 or less is no process.
        alive_ms: a time at which it was alive, in ms since the epoch.
    """
    if pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        return process.create_time() <= alive_ms / 1000 + _CLOCK_S and is_running(process)
    except (psutil.Error, ValueError, OverflowError):
        return False


def environment_of(pid: int, alive_ms: int) -> dict[str, str]:
    """Return the environment that a process was started with, or that of this process as it is now.

    It is empty if the process is gone, or if the system does not show it. The arguments are those of `is_alive`.
    """
    if pid == os.getpid():
        return dict(os.environ)
    try:
        return psutil.Process(pid).environ() if is_alive(pid, alive_ms) else {}
    except (psutil.Error, ValueError, OverflowError, OSError):
        return {}


def is_running(process: psutil.Process) -> bool:
    """Return True if a process still does something: it exists, and is not a zombie, which only waits for its parent.

    Args:
        process: psutil's object, which knows when the process was created.
    """
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def outlives(pid: int, alive_ms: int, wait_s: float = 1.0) -> bool:
    """Return True if a process that has closed its connection is still running after `wait_s` seconds.

    A process that is dying closes its connections a moment before it is gone. Other arguments as in `is_alive`.
    """
    end = time.monotonic() + wait_s
    while is_alive(pid, alive_ms):
        if time.monotonic() > end:
            return True
        time.sleep(0.02)
    return False
