"""Descriptors 0, 1 and 2 are left to the training."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from autoinstrument.transport.sockets import above_streams

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are not descriptors on Windows")


def test_a_socket_that_took_the_number_of_a_stream_gets_another() -> None:
    one, other = socket.socketpair()
    stdin = os.dup(0)
    try:
        os.dup2(one.detach(), 0)
        low = socket.socket(fileno=0)
        low.settimeout(7.5)
        moved = above_streams(low)
        with moved, other:
            assert moved.fileno() > 2
            assert moved.gettimeout() == 7.5
            assert not moved.get_inheritable()
            other.sendall(b"x")
            assert moved.recv(1) == b"x"
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(0)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)


def test_any_other_socket_stays() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert above_streams(one) is one
