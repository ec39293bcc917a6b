"""Ask the kernel whose process is at the other end of a Unix socket: a worker serves its own user alone, root included.

The folder of the socket is private already. This check holds where the folder's mode does not: a file system that
ignores modes, a folder that was opened up, a folder that another user has made first.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

_LINUX = struct.Struct("3i")
"""`struct ucred` of `SO_PEERCRED`: process id, user id, group id."""
_MACOS = struct.Struct("IIh2x16I")
"""`struct xucred` of `LOCAL_PEERCRED`: version 0, user id, number of groups, groups."""
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


class WrongUserError(PermissionError):
    """The process at the other end belongs to another user."""


def check(connection: socket.socket) -> None:
    """Check that the process at the other end runs as the same user; nothing is checked if the system does not show it.

    At the connecting end, the other end is the process that listens, or has called `listen`.

    Raises:
        WrongUserError: it runs as another user.
        OSError: the connection is lost.
    """
    if sys.platform == "win32":
        return
    other = _user(connection)
    if other is not None and other != os.geteuid():
        raise WrongUserError(f"the process at the other end of the worker's socket belongs to user {other}")


def _user(connection: socket.socket) -> int | None:
    """Return the effective user id of the process at the other end, None where it cannot be known."""
    if connection.family != getattr(socket, "AF_UNIX", None):
        return None
    if sys.platform == "linux":
        _, user, _ = _LINUX.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX.size))
        return int(user)
    if sys.platform == "darwin":
        version, user, *_ = _MACOS.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _MACOS.size))
        return int(user) if version == 0 else None
    return None
