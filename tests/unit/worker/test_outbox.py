"""The worker waits for no process that does not read."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from autoinstrument.records import RunPending
from autoinstrument.transport.protocol import read_all
from autoinstrument.worker import outbox as outbox_module
from autoinstrument.worker.outbox import Outbox
from tests.end_to_end.processes import wait_for


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        yield worker_end, process_end


def messages(count: int) -> list[RunPending]:
    return [RunPending(f"run {number}", "the server does not answer" * 10) for number in range(count)]


def test_a_process_that_was_stopped_gets_everything_when_it_goes_on(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    """Several times as much as a socket holds, in order; sending it does not wait, or this test would not end."""
    worker_end, process_end = sockets
    outbox, sent = Outbox(worker_end), messages(5_000)
    for record in sent:
        outbox.send(record)
    received = read_all(process_end)
    assert [next(received) for _ in sent] == sent
    wait_for(lambda: not outbox._has_thread)
    outbox.send(sent[0])
    assert next(received) == sent[0]


def test_waiting_messages_are_bounded_and_whole(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_MOST", 100_000)
    worker_end, process_end = sockets
    outbox, sent = Outbox(worker_end), messages(5_000)
    for record in sent:
        outbox.send(record)
    assert len(outbox._left) < 101_000
    worker_end.shutdown(socket.SHUT_RD)
    received = []
    for record in read_all(process_end):
        received.append(record)
        if not outbox._left:
            worker_end.shutdown(socket.SHUT_WR)
    assert 0 < len(received) < 5_000
    assert received == sent[: len(received)]


def test_a_process_that_is_gone_is_not_an_error(sockets: tuple[socket.socket, socket.socket]) -> None:
    worker_end, process_end = sockets
    outbox = Outbox(worker_end)
    for record in messages(5_000):
        outbox.send(record)
    process_end.close()
    wait_for(lambda: not outbox._has_thread)
    assert not outbox._left
    outbox.send(messages(1)[0])
    assert not outbox._left
