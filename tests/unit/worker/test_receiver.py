"""Records that have arrived are handed on in order, and counted if there is no room."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from autoinstrument import process_identity
from autoinstrument.records import (
    AbortLogged,
    ArtifactLogged,
    ConsoleAwaited,
    ConsoleDrained,
    ConsoleWritten,
    EventsDropped,
    Record,
    TagDeleted,
)
from autoinstrument.transport.budget import Limit
from autoinstrument.transport.protocol import encode
from autoinstrument.worker import receiver as receiver_module
from autoinstrument.worker.receiver import ConnectionClosed, Receiver
from autoinstrument.worker.training_process import TrainingProcess
from tests.unit.mirror.runs import PROCESS
from tests.unit.transport.worker import PATIENCE_S, Worker, point, wait_for


class Reading:
    """A receiver that reads from one training process, or one that reads from others, too."""

    def __init__(self, receiver: Receiver | None = None) -> None:
        self.training = Worker(is_ready=False)  # the same socket, seen from the other side
        self.receiver = receiver or Receiver()
        self.process = TrainingProcess(self.training.there)
        self.thread = threading.Thread(target=self.receiver.read, args=(self.process,), daemon=True)
        self.thread.start()

    def send(self, *records: Record) -> None:
        self.training._socket.sendall(encode(records))

    def taken(self, most: int = 1000) -> list[Record | ConnectionClosed]:
        return [record for _, record in self.receiver.take(0.0, most)]

    @property
    def waiting(self) -> int:
        return self.receiver._records.records


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    monkeypatch.setattr(receiver_module, "RECEIVED_RECORDS", Limit(4, 10**6))
    monkeypatch.setattr(receiver_module, "RECEIVED_CONTENTS", Limit(100, 100))
    reading = Reading()
    yield reading
    reading.training.die()


def test_records_are_taken_in_their_order_and_the_end_comes_last(reading: Reading) -> None:
    reading.send(point(1), point(2), point(3))
    wait_for(lambda: reading.waiting == 3)
    assert reading.taken(most=2) == [point(1), point(2)]
    reading.training.die()
    wait_for(lambda: reading.waiting == 2)
    assert reading.taken() == [point(3), ConnectionClosed()]


@pytest.mark.swallows("finding out how a process ended: OSError")
def test_the_end_comes_also_if_the_system_cannot_be_asked_for_its_cause(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker would wait for the process for ever, and its runs would never end."""

    def fail(*_: object) -> None:  # as psutil does
        raise OSError(errno.EMFILE, "Too many open files", "/proc/1/stat")

    monkeypatch.setattr(process_identity, "outlives", fail)
    reading.process.start(PROCESS._replace(pid=os.getppid()))
    reading.training.die()
    wait_for(lambda: reading.waiting)
    assert reading.taken() == [ConnectionClosed()]
    assert not reading.process.outlives


def test_points_without_room_are_counted_and_others_wait_for_room(reading: Reading) -> None:
    reading.send(*map(point, range(6)), TagDeleted("run", "key"))
    wait_for(lambda: reading.waiting == 5)
    assert reading.receiver.dropped() == [EventsDropped("run", 2)]
    assert reading.receiver.dropped() == []
    reading.send(*[TagDeleted("run", str(number)) for number in range(20)])
    wait_for(lambda: reading.waiting == 8)
    reading.thread.join(0.1)
    assert reading.waiting == 8, "twice the limit holds for everything; then the socket fills up"
    found = []
    while len(found) < 25:
        found += [record for _, record in reading.receiver.take(PATIENCE_S, 100)]
    assert found[4:] == [TagDeleted("run", "key"), *[TagDeleted("run", str(number)) for number in range(20)]]


def test_there_is_room_again_when_records_were_taken(reading: Reading) -> None:
    reading.send(*map(point, range(4)))
    wait_for(lambda: reading.waiting == 4)
    assert len(reading.taken()) == 4
    reading.send(point(5))
    wait_for(lambda: reading.waiting == 1)
    assert (reading.taken(), reading.receiver.dropped()) == ([point(5)], [])
    assert (reading.receiver._records.records, reading.receiver._records.bytes) == (0, 0)


def test_a_content_without_room_is_left_to_the_store(reading: Reading) -> None:
    artifact = ArtifactLogged("run", "a", 60, 0, "x" * 60)
    reading.send(artifact, artifact)
    wait_for(lambda: reading.waiting == 2)
    assert reading.taken() == [artifact, artifact._replace(content=None)]
    reading.send(artifact)
    wait_for(lambda: reading.waiting == 1)
    assert reading.taken() == [artifact], "there is room again"


def test_a_process_that_floods_the_worker_leaves_room_for_others(reading: Reading) -> None:
    """Half of the room is shared evenly; what each has sent is taken in turn."""
    other = Reading(reading.receiver)
    reading.send(*map(point, range(20)))
    wait_for(lambda: reading.receiver._dropped["run"] > 0)
    flood = reading.waiting
    assert flood < 4
    other.send(TagDeleted("another", "key"), point(7))
    wait_for(lambda: reading.waiting == flood + 2)
    taken = [(process is other.process, record) for process, record in reading.receiver.take(0.0, 4)]
    assert [is_other for is_other, _ in taken] == [False, True, False, True]
    assert [record for is_other, record in taken if is_other] == [TagDeleted("another", "key"), point(7)]
    other.training.die()
    other.thread.join(PATIENCE_S)


def test_what_follows_waits_for_the_text_of_the_relay(reading: Reading) -> None:
    """The two connections are read by two threads: that of the relay may be late."""
    relay, text = Reading(reading.receiver), ConsoleWritten("stdout", "late", 0)
    reading.send(ConsoleAwaited(7, 2), TagDeleted("run", "key"))
    wait_for(lambda: reading.waiting == 2)
    relay.send(ConsoleDrained(7, 1), ConsoleDrained(8, 2))
    wait_for(lambda: reading.waiting == 4)
    assert reading.taken() == []
    reading.send(TagDeleted("run", "other"))
    wait_for(lambda: reading.waiting == 3)
    assert reading.taken() == []
    relay.send(text, ConsoleDrained(7, 3))
    wait_for(lambda: reading.waiting == 5)
    assert reading.taken() == [text, ConsoleAwaited(7, 2), TagDeleted("run", "key"), TagDeleted("run", "other")]
    reading.send(ConsoleAwaited(7, 3))
    wait_for(lambda: reading.waiting == 1)
    assert reading.taken() == [ConsoleAwaited(7, 3)]
    assert (reading.receiver._records.records, reading.receiver._records.bytes) == (0, 0)
    relay.training.die()
    relay.thread.join(PATIENCE_S)


def test_what_follows_waits_no_longer_than_some_seconds(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time anew: the text of one run may be lost, and that of the next one be late."""
    monkeypatch.setattr(receiver_module, "_RELAY_S", 0.05)
    for number in (1, 2):
        reading.send(ConsoleAwaited(7, number), TagDeleted("run", "key"))
        wait_for(lambda: reading.waiting == 2)
        assert reading.taken() == []
        found = [record for _, record in reading.receiver.take(PATIENCE_S, 10)]
        assert found == [ConsoleAwaited(7, number), TagDeleted("run", "key")]


def test_a_thread_that_waits_is_woken(reading: Reading) -> None:
    threading.Timer(0.05, reading.receiver.wake).start()
    assert list(reading.receiver.take(PATIENCE_S, 10)) == []


def test_an_abort_that_was_logged_is_not_queued(reading: Reading) -> None:
    """The thread that takes records waits for it."""
    reading.send(AbortLogged("run"))
    reading.training.die()
    reading.thread.join(PATIENCE_S)
    assert reading.process.abort_logged.is_set()
    assert reading.taken() == [ConnectionClosed()]


@pytest.mark.swallows("reading from the training process: ValueError")
def test_bytes_that_are_not_records_end_the_connection(reading: Reading) -> None:
    reading.training._socket.sendall(b"\xff" * 8)
    reading.thread.join(PATIENCE_S)
    assert reading.taken() == [ConnectionClosed()]
