"""Keep the agent's sockets from disturbing the script: its streams, and its signals.

They stay away from the descriptors 0, 1 and 2, also in a process that has closed its streams. There, a socket would get
the lowest free number: what the training writes to "stdout" would go into it, and a started process would have its own
streams in its place.
"""

from __future__ import annotations

import socket
import sys

_FIRST = 3
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
"""A flag of `send`: a script may have given SIGPIPE its default action, by which a worker's death would end it."""


def above_streams(sock: socket.socket) -> socket.socket:
    """Return the socket, or one in its place whose descriptor is not that of a standard stream.

    Raises:
        OSError: there are no descriptors left.
    """
    if sys.platform == "win32" or sock.fileno() >= _FIRST:  # on Windows, numbers of sockets and streams are apart
        return sock
    import fcntl

    timeout = sock.gettimeout()
    with sock:
        moved = socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST))
    moved.settimeout(timeout)
    return moved
