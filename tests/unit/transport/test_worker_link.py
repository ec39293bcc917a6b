from __future__ import annotations

import socket

import pytest

from autoinstrument.records import Record, RunDeleted
from autoinstrument.transport.worker_link import WorkerLink
from tests.unit.transport.worker import Worker, point


class Workers:
    """Workers that can be connected to, one an attempt."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers
        self.attempts: list[int] = []

    def connect(self, attempt: int) -> socket.socket:
        self.attempts.append(attempt)
        if attempt >= len(self._workers):
            raise OSError("no worker")
        return self._workers[attempt].there


def introduce(attempt: int) -> list[Record]:
    return [RunDeleted(f"attempt {attempt}")]


def test_the_process_is_introduced_once_to_each_worker() -> None:
    first, second = Worker(), Worker()
    link = WorkerLink(Workers(first, second).connect, introduce)
    assert not link.is_open
    connection = link.open()
    assert (link.open(), link.is_open) == (connection, True)
    connection.send([point(1)])
    assert first.receive(point(1).__eq__) == [RunDeleted("attempt 0"), point(1)]
    link.drop()
    assert (link.is_open, link.may_open) == (False, True)
    link.open().send([point(2)])
    assert second.receive(point(2).__eq__) == [RunDeleted("attempt 1"), point(2)]
    assert first.is_closed()
    link.drop()
    assert not link.may_open


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
        with pytest.raises(OSError, match="no worker"):
            link.open()
        link.drop()
        assert link.may_open is (attempt == 0)
    assert workers.attempts == [0, 0, 1]


def test_a_process_that_cannot_be_described_leaves_no_open_link() -> None:
    def fails(attempt: int) -> list[Record]:
        raise ValueError("no description")

    link = WorkerLink(Workers(Worker()).connect, fails)
    with pytest.raises(ValueError, match="no description"):
        link.open()
    assert not link.is_open
