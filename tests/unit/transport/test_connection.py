from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from autoinstrument.guard import errors
from autoinstrument.records import MetricsLogged
from autoinstrument.transport.connection import Connection, ring, send_if_writable
from tests.unit.transport.worker import Worker, point


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def connection(worker: Worker) -> Connection:
    return Connection(worker.there)


def test_records_arrive(worker: Worker, connection: Connection) -> None:
    connection.send([point(1), point(2)])
    assert connection.send_now(point(3))
    assert worker.receive(point(3).__eq__) == [point(1), point(2), point(3)]


@pytest.mark.swallows("sending MetricsLogged: TypeError")
def test_a_record_that_cannot_be_encoded_does_not_block_the_others(worker: Worker, connection: Connection) -> None:
    before = errors["sending MetricsLogged"]
    connection.send([point(1), MetricsLogged("run", [("loss", object(), 0, 0)]), point(2)])  # type: ignore[list-item]
    assert worker.receive(point(2).__eq__) == [point(1), point(2)]
    assert errors["sending MetricsLogged"] == before + 1


def test_send_now_waits_for_nothing(worker: Worker, connection: Connection) -> None:
    assert not connection.send_now(point(1)._replace(points=point(1).points * 1000)), "too long to go whole"
    connection._sending.acquire()
    assert not connection.send_now(point(1)), "another thread is sending"
    connection._sending.release()
    sent = 0
    while connection.send_now(point(sent)):
        sent += 1
    assert sent > 10, "the socket is full"
    assert len(worker.receive(point(sent - 1).__eq__)) == sent, "whole records alone"
    worker.die()
    assert not connection.send_now(point(1))


def test_a_lost_connection_raises(worker: Worker, connection: Connection) -> None:
    worker.die()
    with pytest.raises(OSError, match=r".+"):
        connection.send([point(1)])


def test_the_receiving_side_outlives_the_sending_one(worker: Worker, connection: Connection) -> None:
    receiving = connection.receiving_side()
    connection.close()
    worker.answer(point(1))
    with receiving:
        assert receiving.recv(10)


def test_without_msg_dontwait() -> None:
    """As on Windows."""
    here, there = socket.socketpair()
    with here, there:
        assert send_if_writable(here, b"abc") == 3
        assert there.recv(10) == b"abc"
        here.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                here.send(b"x" * 4096)
        here.setblocking(True)
        assert send_if_writable(here, b"abc") == 0


def test_a_bell_may_be_rung_too_often() -> None:
    here, there = socket.socketpair()
    with here, there:
        for _ in range(100_000):
            ring(here)
        assert there.recv(1)[:1] == b"."


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="Windows has no SIGPIPE")
def test_a_lost_connection_sends_no_signal(worker: Worker, connection: Connection) -> None:
    """A script may have given SIGPIPE its default action, which would end the training."""
    received: list[int] = []
    before = signal.signal(signal.SIGPIPE, lambda number, _: received.append(number))
    try:
        worker.die()
        for _ in range(2):  # the first one may still be taken
            with contextlib.suppress(OSError):
                connection.send([point(1)])
            connection.send_now(point(2))
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert received == []


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no descriptors on Windows")
def test_nothing_goes_into_a_file_that_has_the_number_of_the_socket(
    worker: Worker, connection: Connection, tmp_path: Path
) -> None:
    """As where a script closes all descriptors, and opens files."""
    number = worker.there.fileno()
    with (tmp_path / "file").open("wb", buffering=0) as file:
        os.dup2(file.fileno(), number)
        assert not connection.send_now(point(1))
        for use in (lambda: connection.send([point(1)]), connection.receiving_side, connection.wait_for_room):
            with pytest.raises(OSError, match="closed the agent's socket"):
                use()
        connection.close()
        os.close(number)  # it is open
    assert (tmp_path / "file").read_bytes() == b""
