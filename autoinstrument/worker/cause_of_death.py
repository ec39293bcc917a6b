"""Find out why a training process died, if the system shows it: a signal, or no memory left. Linux only."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

_explained = 0


def memory_kills() -> int:
    """Return how many processes the out-of-memory killer has killed, in this control group or else on this machine.

    Read from `memory.events` of control group v2, or from `oom_kill` in `/proc/vmstat` (Linux 4.13 and later); 0 if
    neither exists.
    """
    group = _match(Path("/proc/self/cgroup"), r"^0::(.*)$")
    for path in (Path(f"/sys/fs/cgroup{group}/memory.events"), Path("/proc/vmstat")):
        count = _match(path, r"^oom_kill (\d+)$")
        if count:
            return int(count)
    return 0


def unexplained_memory_kills() -> int:
    """Return how many of these kills have ended no process that this worker knew, see `explain_memory_kill`."""
    return memory_kills() - _explained


def explain_memory_kill() -> None:
    """Note that one of these kills has ended a process: another one that is killed later had another cause."""
    global _explained
    _explained += 1


def signal_of(pid: int) -> str:
    """Return the name of the signal that killed a process, as in "SIGKILL"; "" if it is not known.

    Known while the process is a zombie: the last field of `/proc/PID/stat` is its wait status (proc(5)), until its
    parent takes it.
    """
    if not pid:
        return ""
    try:
        status = int(Path(f"/proc/{pid}/stat").read_bytes().rsplit(b" ", 1)[1])  # the name may be any 15 bytes
        return signal.Signals(status & 0x7F).name if status & 0x7F else ""
    except (OSError, ValueError, IndexError):
        return ""


def _match(path: Path, pattern: str) -> str:
    try:
        found = re.search(pattern, os.fsdecode(path.read_bytes()), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""
