"""Descriptors 0, 1 and 2 are left to the training, and so are all that it has closed and opened anew."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from autoinstrument.transport.sockets import OwnSocket, above_streams

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


def test_a_descriptor_that_leads_to_a_file_of_the_scripts_is_left_alone(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    number = one.fileno()
    own = OwnSocket(one)
    assert own.get() is one
    with other, (tmp_path / "file").open("wb", buffering=0) as file:
        os.dup2(file.fileno(), number)  # as after `os.closerange` and `open`
        assert not own.is_own
        with pytest.raises(OSError, match="closed the agent's socket"):
            own.get()
        own.close()
        os.write(number, b"of the script")
        os.close(number)
    assert (tmp_path / "file").read_bytes() == b"of the script"


def test_an_own_socket_is_closed_once() -> None:
    one, other = socket.socketpair()
    with other:
        own = OwnSocket(one)
        own.close()
        own.close()
        assert other.recv(1) == b""
        with pytest.raises(OSError, match="closed the agent's socket"):
            own.get()
