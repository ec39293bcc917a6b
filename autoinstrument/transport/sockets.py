"""Keep the agent's sockets from disturbing the script: its streams, and its signals.

They stay away from the descriptors 0, 1 and 2, also in a process that has closed its streams. There, a socket would get
the lowest free number: what the training writes to "stdout" would go into it, and a started process would have its own
streams in its place. And they are used only while they are the agent's own (`OwnSocket`).
"""

from __future__ import annotations

import errno
import os
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


class OwnSocket:
    """A socket of the agent's, as long as its descriptor leads to it.

    A script that turns itself into a daemon closes all descriptors (`os.closerange`). Files and sockets that it opens
    afterwards get the same numbers: nothing may be sent to those, be read from them, or close them.
    """

    __slots__ = ("_file", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        """Take a socket that has just been made."""
        self._socket = sock
        self._file = _file_of(sock)

    @property
    def is_own(self) -> bool:
        """True while the descriptor leads to the socket."""
        return _file_of(self._socket) == self._file

    def get(self) -> socket.socket:
        """Return the socket, to be used at once.

        Raises:
            OSError: the descriptor leads elsewhere by now, or is closed.
        """
        if not self.is_own:
            raise OSError(errno.EBADF, "the script has closed the agent's socket")
        return self._socket

    def close(self) -> None:
        """Close the socket; one whose descriptor leads elsewhere by now is only forgotten."""
        if self.is_own:
            self._socket.close()
        else:
            self._socket.detach()


def _file_of(sock: socket.socket) -> tuple[int, int] | None:
    """Return device and inode of a socket's descriptor, None where it is closed; Windows does not reuse the numbers."""
    if sys.platform == "win32":
        return None
    try:
        found = os.fstat(sock.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino
