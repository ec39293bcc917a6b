"""Descriptors of ours are never 0, 1 or 2, also in a process whose standard streams are closed.

There, what the training writes to "stdout" would go to whatever has that number, and a started process has its own
streams there.
"""

from __future__ import annotations

import socket

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_FIRST = 3


def above_streams(ours: socket.socket) -> socket.socket:
    """Return the socket, or another in place of it, with a number that is no standard stream's.

    Raises:
        OSError: there are no descriptors left.
    """
    if fcntl is None or ours.fileno() >= _FIRST:
        return ours
    timeout = ours.gettimeout()
    with ours:
        moved = socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST))
    moved.settimeout(timeout)
    return moved
