"""A port that stays reserved while nothing listens there."""

from __future__ import annotations

import socket


def hold(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that is bound to a free port and never listens: connections are refused there.

    A process that sets SO_REUSEADDR, as servers do, can listen on the port. The system (Linux) does not choose it
    for other sockets.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, 0))
    return held
