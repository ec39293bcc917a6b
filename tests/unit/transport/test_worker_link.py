from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from autoinstrument.records import Record, RunDeleted
from autoinstrument.transport import connection, worker_link
from autoinstrument.transport.worker_link import Attempt, WorkerLink
from tests.unit.transport.worker import Worker, point


class Workers:
    """Workers that can be connected to, one an attempt."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers
        self.attempts: list[int] = []

    def connect(self, attempt: Attempt) -> socket.socket:
        self.attempts.append(attempt.number)
        if attempt.number >= len(self._workers):
            raise OSError("no worker")
        return self._workers[attempt.number].there


def introduce(attempt: int) -> list[Record]:
    return [RunDeleted(f"attempt {attempt}")]


def test_the_process_is_introduced_once_to_each_worker() -> None:
    first, second = Worker(), Worker()
    link = WorkerLink(Workers(first, second).connect, introduce)
    assert not link.is_open
    opened = link.open()
    assert (link.open(), link.is_open) == (opened, True)
    opened.send([point(1)])
    assert first.receive(point(1).__eq__) == [RunDeleted("attempt 0"), point(1)]
    link.drop()
    assert (link.is_open, link.may_open) == (False, True)
    link.open().send([point(2)])
    assert second.receive(point(2).__eq__) == [RunDeleted("attempt 1"), point(2)]
    assert first.is_closed()
    link.drop()
    assert not link.may_open, "neither has answered"


def test_an_early_connection_is_the_first_one() -> None:
    worker = Worker()
    workers = Workers(worker)
    link = WorkerLink(workers.connect, introduce)
    link.connect_early()
    link.connect_early()
    assert link.connection is not None
    assert link.connection.send_now(point(0)), "ahead of the introduction"
    assert link.open() is link.connection
    assert workers.attempts == [0]
    assert worker.receive(RunDeleted("attempt 0").__eq__) == [point(0), RunDeleted("attempt 0")]


def test_without_a_worker() -> None:
    workers = Workers()
    link = WorkerLink(workers.connect, introduce)
    link.connect_early()
    assert link.connection is None
    for attempt in (0, 1):
        assert link.pause_s == 0.0
        with pytest.raises(OSError, match="no worker"):
            link.open()
        link.drop()
        assert link.may_open is (attempt == 0)
    assert workers.attempts == [0, 0, 1]


def test_workers_that_die_are_replaced_any_number_of_times_and_ever_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    for module in (worker_link, connection):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    link = WorkerLink(Workers(*(Worker() for _ in range(40))).connect, introduce)

    def live(seconds: float) -> float:
        nonlocal now
        link.open().is_answered = True
        now += seconds
        link.drop()
        assert link.may_open
        return link.pause_s

    assert [live(1) for _ in range(10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    now += 59
    assert link.pause_s == 1
    now += 1
    assert link.pause_s == 0
    assert live(3600) == 0, "a worker that lived a while was none that dies at once"
    assert [live(1) for _ in range(3)] == [0, 1, 2]


def test_a_worker_that_is_there_and_does_not_answer_is_left_to_others() -> None:
    attempts, workers = list[Attempt](), [Worker() for _ in range(3)]

    def connect(attempt: Attempt) -> socket.socket:
        attempts.append(attempt)
        return workers[attempt.number].there

    link = WorkerLink(connect, introduce)
    link.open()
    assert not link.has_answered
    link.drop()
    link.open().is_silent = True
    link.drop()
    link.connect_early()
    assert [(attempt.number, attempt.is_alone) for attempt in attempts] == [(0, False), (1, False), (2, True)]
    assert attempts[0].wait_s > attempts[2].wait_s, "the training does not wait for other processes"


def test_a_worker_that_another_process_cannot_start_is_not_waited_for_again() -> None:
    attempts, worker = list[Attempt](), Worker()

    def connect(attempt: Attempt) -> socket.socket:
        attempts.append(attempt)
        if not attempt.is_alone:
            raise TimeoutError
        return worker.there

    link = WorkerLink(connect, introduce)
    link.connect_early()
    assert not attempts[0].is_alone
    with pytest.raises(TimeoutError):
        link.open()
    link.drop()
    assert link.may_open
    link.open()
    assert [attempt.is_alone for attempt in attempts] == [False, False, True]


def test_a_process_that_cannot_be_described_leaves_no_open_link() -> None:
    def fails(attempt: int) -> list[Record]:
        raise ValueError("no description")

    link = WorkerLink(Workers(Worker()).connect, fails)
    with pytest.raises(ValueError, match="no description"):
        link.open()
    assert not link.is_open
