"""Look up a process and its ancestors, without psutil: every Python process below a training may load this module."""

from __future__ import annotations

import os

_MOST = 64
"""Ancestors that are looked at."""
_PARENT, _STARTED = 1, 19
"""Positions in /proc/PID/stat behind the name of the program, see proc(5)."""


def identity(pid: int) -> str:
    """Return a name that no other process of this machine has: its id, and when it was started where that is known."""
    return _look(pid)[1]


def ancestors(pid: int) -> list[str]:
    """Return the identities of a process and the processes above it, the nearest first; [] without /proc."""
    found: list[str] = []
    while pid > 1 and len(found) < _MOST:
        pid, name = _look(pid)
        found.append(name)
    return found


def _look(pid: int) -> tuple[int, str]:
    """Return the parent's id, 0 if that is not known, and the identity of a process."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            # The name may hold anything, spaces and parentheses included.
            fields = os.read(file, 4096).rpartition(b")")[2].split()
        finally:
            os.close(file)
        return int(fields[_PARENT]), f"{pid}-{int(fields[_STARTED])}"
    except (OSError, IndexError, ValueError):  # no Linux, or the process is gone
        return 0, f"{pid}-0"
