from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from autoinstrument.records import Record, RunDeleted
from autoinstrument.transport import worker_link
from autoinstrument.transport.connection import Connection
from autoinstrument.transport.deferred_reads import DeferredReads
from autoinstrument.transport.deferred_records import DeferredStart, Item
from autoinstrument.transport.exit_wait import ExitWait
from autoinstrument.transport.forkable_threads import ThreadStopsError
from autoinstrument.transport.pacing import Pacing
from autoinstrument.transport.send_buffer import SendBuffer
from autoinstrument.transport.send_loop import SendLoop
from autoinstrument.transport.worker_link import Attempt, WorkerLink
from tests.unit.transport.worker import PATIENCE_S, Worker, point, wait_for


class Sending:
    """A loop, its thread, and the workers that it can connect to.

    Args:
        workers: they are connected to in this order.
        interrupted: how often the thread must stop while it introduces the process.
    """

    def __init__(self, *workers: Worker, interrupted: int = 0) -> None:
        self.workers, self.interrupted = workers, interrupted
        self.connections: list[Connection] = []
        self.left = 0
        self.stopping = False
        self.buffer, self.reads, self.pacing, self.exit = SendBuffer(), DeferredReads(), Pacing(), ExitWait()
        self.link = WorkerLink(self.connect, self.introduce)
        self.loop = SendLoop(
            self.buffer,
            self.reads,
            self.link,
            self.pacing,
            self.exit,
            follow=self.connections.append,
            leave=self.leave,
            stops=lambda: self.stopping,
        )
        self.start()

    def connect(self, attempt: Attempt) -> socket.socket:
        if attempt.number >= len(self.workers):
            raise OSError("no worker")
        return self.workers[attempt.number].there

    def introduce(self, attempt: int) -> list[Record]:
        if self.interrupted:
            self.interrupted -= 1
            raise ThreadStopsError
        return [RunDeleted(f"attempt {attempt}")]

    def leave(self) -> None:
        self.left += 1

    def start(self) -> None:
        self.stopping = False
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopping = True
        self.pacing.interrupt()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    def post(self, item: Item) -> None:
        self.buffer.put(item)
        self.pacing.wake()

    def lose(self, number: int) -> None:
        """Do what the receiving thread does when a worker has died."""
        self.workers[number].die()
        self.connections[number].lost.set()
        self.pacing.look()


@pytest.fixture
def made() -> Iterator[list[Sending]]:
    made: list[Sending] = []
    yield made
    for sending in made:
        sending.stop()


@pytest.fixture
def sending(made: list[Sending]) -> Sending:
    made.append(Sending(Worker(), Worker()))
    return made[0]


def received(worker: Worker, last: Record) -> list[Record]:
    return worker.receive(last.__eq__)


def test_posted_records_are_sent_after_the_introduction(sending: Sending) -> None:
    sending.post(point(1))
    assert received(sending.workers[0], point(1)) == [RunDeleted("attempt 0"), point(1)]
    sending.post(point(2))
    assert received(sending.workers[0], point(2)) == [point(2)]
    assert len(sending.connections) == 1


def test_a_read_is_sent_when_its_time_has_come(sending: Sending) -> None:
    sending.reads.note("run", "tags", lambda: point(1))
    sending.pacing.wake()
    assert received(sending.workers[0], point(1))[-1] == point(1)


@pytest.mark.parametrize("noticed", ["by the receiving thread", "by the sending thread"])
def test_another_worker_goes_on_where_the_first_has_died(sending: Sending, noticed: str) -> None:
    sending.post(point(1))
    received(sending.workers[0], point(1))
    if noticed == "by the receiving thread":
        sending.lose(0)
    else:
        sending.workers[0].die()
    sending.post(point(2))
    assert received(sending.workers[1], point(2)) == [RunDeleted("attempt 1"), point(2)]
    assert not sending.loop.is_alone
    assert sending.loop.failure == ""


def test_after_two_workers_that_never_answered_starts_alone_are_made(sending: Sending) -> None:
    for number in (0, 1):
        wait_for(lambda number=number: len(sending.connections) > number)
        sending.lose(number)
    wait_for(lambda: sending.left == 1)
    assert (sending.loop.is_alone, sending.loop.failure) == (True, "the worker has died")
    starts: list[str] = []
    sending.post(point(1))
    sending.post(DeferredStart(lambda: starts.append("run")))
    wait_for(lambda: sending.left >= 2)
    assert starts == ["run"]


def test_workers_that_have_answered_are_replaced_without_end(
    made: list[Sending], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_link, "_FIRST_PAUSE_S", 0.001)
    sending = Sending(*(Worker() for _ in range(5)))
    made.append(sending)
    for number in range(4):
        sending.post(point(number))
        introduction = [RunDeleted(f"attempt {number}")]
        assert received(sending.workers[number], point(number)) == [*introduction, point(number)]
        sending.connections[number].is_answered = True
        sending.lose(number)
    assert not sending.loop.is_alone


@pytest.mark.parametrize("ends", ["the process ends", "the process forks"])
def test_a_pause_before_the_next_worker_delays_no_caller(
    made: list[Sending], monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """At the end of the process another worker, which another process may have started, is tried at once."""
    monkeypatch.setattr(worker_link, "_FIRST_PAUSE_S", 10 * PATIENCE_S)
    sending = Sending(*(Worker() for _ in range(3)))
    made.append(sending)
    for number in range(2):
        wait_for(lambda number=number: len(sending.connections) > number)
        sending.connections[number].is_answered = True
        sending.lose(number)
    wait_for(lambda: sending.link.pause_s)
    sending.post(point(1))
    if ends == "the process forks":
        sending.stop()
        sending.start()
        sending.stop()
        sending.pacing.go_on()
        sending.start()
    sending.pacing.hurry()
    assert received(sending.workers[2], point(1)) == [RunDeleted("attempt 2"), point(1)]


def test_where_no_worker_can_be_started_the_process_does_not_wait_for_one(made: list[Sending]) -> None:
    sending = Sending()
    made.append(sending)
    sending.exit.begin()
    assert not sending.exit.wait(PATIENCE_S)
    wait_for(lambda: sending.left)
    assert sending.loop.failure == "no worker can be started (OSError: no worker)"


def test_at_the_end_of_the_process_no_second_worker_is_started(sending: Sending) -> None:
    sending.post(point(1))
    received(sending.workers[0], point(1))
    sending.connections[0].is_answered = True
    sending.pacing.hurry()
    sending.lose(0)
    wait_for(lambda: sending.loop.is_alone)
    assert (len(sending.connections), sending.left) == (1, 0)


def test_a_stop_goes_on_over_the_same_connection(sending: Sending) -> None:
    sending.post(point(1))
    received(sending.workers[0], point(1))
    sending.stop()
    sending.post(point(2))
    sending.start()
    assert received(sending.workers[0], point(2)) == [point(2)]
    assert len(sending.connections) == 1


def test_a_stop_without_a_worker(made: list[Sending]) -> None:
    sending = Sending()
    made.append(sending)
    wait_for(lambda: sending.left)
    sending.stop()
    starts: list[str] = []
    sending.post(DeferredStart(lambda: starts.append("run")))
    sending.start()
    wait_for(lambda: starts)


def test_idle_keeps_the_loop_from_overtaking(sending: Sending) -> None:
    wait_for(lambda: sending.connections)
    with sending.loop.idle() as is_idle:
        assert is_idle
        sending.post(point(2))
        assert sending.connections[0].send_now(point(1))
        with sending.loop.idle() as is_idle_too:
            assert not is_idle_too
    assert received(sending.workers[0], point(2)) == [RunDeleted("attempt 0"), point(1), point(2)]


def test_a_stop_while_the_process_is_introduced(made: list[Sending]) -> None:
    """It waits for the worker's start then; the same connection is used when the thread is run again."""
    sending = Sending(Worker(), interrupted=1)
    made.append(sending)
    sending.thread.join(PATIENCE_S)
    assert not sending.thread.is_alive()
    sending.post(point(1))
    sending.start()
    assert received(sending.workers[0], point(1)) == [RunDeleted("attempt 0"), point(1)]
    assert len(sending.connections) == 1
