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
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def messages(count: int) -> list[RunPending]:
    return [RunPending(f"run {number}", "the server does not answer" * 10) for number in range(count)]


def test_a_process_that_was_stopped_gets_everything_when_it_goes_on(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    """Several times as much as a socket holds, in order; sending it does not wait, or this test would not end."""
    ours, theirs = sockets
    outbox, sent = Outbox(ours), messages(5_000)
    for record in sent:
        outbox.send(record)
    received = read_all(theirs)
    assert [next(received) for _ in sent] == sent
    wait_for(lambda: not outbox._has_thread)
    outbox.send(sent[0])
    assert next(received) == sent[0]


def test_waiting_messages_are_bounded_and_whole(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_MOST", 100_000)
    ours, theirs = sockets
    outbox, sent = Outbox(ours), messages(5_000)
    for record in sent:
        outbox.send(record)
    assert len(outbox._left) < 101_000
    ours.shutdown(socket.SHUT_RD)
    received = []
    for record in read_all(theirs):
        received.append(record)
        if not outbox._left:
            ours.shutdown(socket.SHUT_WR)
    assert 0 < len(received) < 5_000
    assert received == sent[: len(received)]


def test_a_process_that_is_gone_is_not_an_error(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    outbox = Outbox(ours)
    for record in messages(5_000):
        outbox.send(record)
    theirs.close()
    wait_for(lambda: not outbox._has_thread)
    assert not outbox._left
    outbox.send(messages(1)[0])
    assert not outbox._left
