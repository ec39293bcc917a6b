from __future__ import annotations

import os
import socket
import sys

import pytest

from autoinstrument.transport import sockets
from autoinstrument.transport.sockets import above_streams


def test_a_socket_with_a_higher_number_stays_itself() -> None:
    with socket.socket() as sock:
        assert above_streams(sock) is sock


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl")
def test_a_socket_is_moved_with_what_it_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the streams of the process were closed, and the numbers up to this one were theirs."""
    here, there = socket.socketpair()
    here.settimeout(7)
    monkeypatch.setattr(sockets, "_FIRST", here.fileno() + 10)
    with above_streams(here) as moved, there:
        assert moved.fileno() >= sockets._FIRST
        assert (here.fileno(), moved.gettimeout(), os.get_inheritable(moved.fileno())) == (-1, 7, False)
        moved.sendall(b"x")
        assert there.recv(1) == b"x"
