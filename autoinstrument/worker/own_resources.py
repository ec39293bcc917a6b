"""Set limits, umask, CPU affinity, priority and temporary folder of the worker, whichever process has started it.

Limits, umask, CPU affinity and priority are inherited: those of a rank that is pinned to four cores, or of a shell with
`ulimit -n 256`, are not meant for the worker of all processes. Hard limits and control groups still hold.
"""

from __future__ import annotations

import contextlib
import os
import sys

_FILES = 16_384
"""Descriptors: a connection per training process, and the files that are read."""
_UNDONE = ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_NPROC", "RLIMIT_RSS")
_CPUS = 8192
"""More than a machine has; the kernel leaves out those that the worker may not use."""
_NICER = 5
_RESET_ON_FORK = 0x4000_0000


def take() -> None:
    """Give this process its own limits, umask, CPUs and priority, as far as the system lets it."""
    os.umask(0o077)  # files are for the user alone
    if sys.platform == "win32":
        return
    _raise_limits()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(_CPUS))
        _leave_special_scheduling()
    with contextlib.suppress(OSError):
        os.nice(_NICER)  # 19 is the lowest


def need_temporary_folder(substitute: str) -> None:
    """Put temporary files into a folder if Python finds no place for them, as on a read-only root file system.

    ClearML's SDK (2.1) needs one to log in.
    """
    import tempfile

    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ["TMPDIR"] = substitute


def _raise_limits() -> None:
    """Raise soft limits: up to the hard ones, that of descriptors up to `_FILES`."""
    if sys.platform == "win32":
        return
    import resource

    for name in ("RLIMIT_NOFILE", *_UNDONE):
        number = getattr(resource, name, None)
        if number is None:
            continue
        soft, hard = resource.getrlimit(number)
        wanted = hard
        if name == "RLIMIT_NOFILE" and soft != resource.RLIM_INFINITY:
            wanted = max(soft, _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard))
        if wanted != soft:
            with contextlib.suppress(OSError, ValueError):  # macOS allows for fewer files than its limit
                resource.setrlimit(number, (wanted, hard))


def _leave_special_scheduling() -> None:
    """Leave the real-time or batch policy of the training."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) & ~_RESET_ON_FORK != os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
