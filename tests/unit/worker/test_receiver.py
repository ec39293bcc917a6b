"""Records that have arrived are handed on in order, and counted where there is no room."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from autoinstrument.records import AbortLogged, ConsoleWritten, MetricsLogged, Record, TagsSet
from autoinstrument.transport.protocol import encode
from autoinstrument.worker.receiver import ConnectionClosed, Receiver
from autoinstrument.worker.training_process import TrainingProcess


@pytest.fixture
def connection() -> Iterator[tuple[TrainingProcess, socket.socket]]:
    """A process as the worker sees it, and the process's own end of the connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield TrainingProcess(ours), theirs


def received(receiver: Receiver) -> list[object]:
    return [record for _, record in receiver.take(0.0, 1000)]


def test_records_come_in_order_and_the_end_last(connection: tuple[TrainingProcess, socket.socket]) -> None:
    process, theirs = connection
    records: list[Record] = [TagsSet("r", {"n": str(n)}) for n in range(50)]
    theirs.sendall(encode(records[:20]) + encode(records[20:]))
    theirs.close()
    receiver = Receiver()
    receiver.read(process)
    assert [record for _, record in receiver.take(0.0, 30)] == records[:30]
    assert received(receiver) == [*records[30:], ConnectionClosed()]
    assert received(receiver) == []


def test_an_abort_that_was_logged_is_not_queued(connection: tuple[TrainingProcess, socket.socket]) -> None:
    """The thread that takes records waits for it."""
    process, theirs = connection
    theirs.sendall(encode([AbortLogged("r")]))
    theirs.close()
    receiver = Receiver()
    receiver.read(process)
    assert process.abort_logged.is_set()
    assert received(receiver) == [ConnectionClosed()]


@pytest.mark.swallows("reading from the training process: ValueError")
def test_bytes_that_are_no_records_end_the_connection(connection: tuple[TrainingProcess, socket.socket]) -> None:
    process, theirs = connection
    theirs.sendall(b"\xff" * 8)
    receiver = Receiver()
    receiver.read(process)
    assert received(receiver) == [ConnectionClosed()]


def test_console_text_may_be_handled_before_what_came_earlier(
    connection: tuple[TrainingProcess, socket.socket],
) -> None:
    process, theirs = connection
    tags, text = TagsSet("r", {"a": "b"}), ConsoleWritten("stdout", "text", 0)
    theirs.sendall(encode([tags, text, tags]))
    theirs.close()
    receiver = Receiver()
    receiver.read(process)
    handled = []

    def is_text(_: TrainingProcess, record: object) -> bool:
        handled.append(record)
        return isinstance(record, ConsoleWritten)

    receiver.overtake(is_text)
    assert handled == [tags, text, tags, ConnectionClosed()]
    assert received(receiver) == [tags, tags, ConnectionClosed()]


def test_points_without_room_are_counted_and_text_is_kept(
    connection: tuple[TrainingProcess, socket.socket],
) -> None:
    process, theirs = connection
    receiver = Receiver()
    reader = threading.Thread(target=receiver.read, args=(process,))
    reader.start()
    one_frame = encode([MetricsLogged("r", [("loss", 1.0, 0, step)]) for step in range(10_000)])
    for _ in range(3):
        theirs.sendall(one_frame)
    theirs.sendall(encode([ConsoleWritten("stdout", "last", 0)]))
    theirs.close()
    reader.join()
    kept = [record for _, record in receiver.take(0.0, 100_000)]
    assert kept[-2:] == [ConsoleWritten("stdout", "last", 0), ConnectionClosed()]
    (dropped,) = receiver.dropped()
    assert dropped.run_id == "r"
    assert dropped.events + len(kept) - 2 == 30_000
    assert receiver.dropped() == []
