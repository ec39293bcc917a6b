from __future__ import annotations

import os
import socket
import sys
import threading
import time

import pytest

from autoinstrument.guard import errors
from autoinstrument.records import Record, RunTagged, WorkerReady
from autoinstrument.transport import answer_reader
from autoinstrument.transport.answer_reader import AnswerReader
from autoinstrument.transport.connection import Connection
from autoinstrument.transport.protocol import encode
from tests.unit.transport.worker import PATIENCE_S, Worker, wait_for


class Receiving:
    """A reader and its thread."""

    def __init__(self, *, interruptible: bool = True) -> None:
        self.taken: list[Record] = []
        self.lost = 0
        self.stopping = False
        self.reader = AnswerReader(self.take, self.note_lost, lambda: self.stopping)
        if interruptible:
            self.reader.make_interruptible()
        self.start()

    def take(self, record: Record) -> None:
        if record == RunTagged("bad"):
            raise ValueError("bad")
        self.taken.append(record)

    def note_lost(self, connection: Connection) -> None:
        assert connection.lost.is_set()
        self.lost += 1

    def start(self) -> None:
        self.stopping = False
        self.thread = threading.Thread(target=self.reader.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopping = True
        self.reader.interrupt()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture(params=["poll", "select"])
def waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which the thread waits for two sockets: Windows has `select`."""
    if request.param == "select":
        monkeypatch.setattr(answer_reader, "_readable", answer_reader.readable_by_select)
    elif sys.platform == "win32":
        pytest.skip("no poll")


@pytest.mark.usefixtures("waits")
def test_answers_are_taken_over_one_connection_after_the_other() -> None:
    receiving, workers = Receiving(), [Worker(), Worker()]
    connections = [Connection(worker.there) for worker in workers]
    for connection in connections:
        receiving.reader.follow(connection)
    workers[1].answer(RunTagged("second"))
    workers[0].answer(RunTagged("first"))
    wait_for(lambda: receiving.taken)
    assert not connections[0].lost.is_set()
    workers[0].die()
    wait_for(lambda: len(receiving.taken) == 2)
    assert receiving.taken == [RunTagged("first"), RunTagged("second")]
    assert (connections[0].lost.is_set(), connections[1].lost.is_set(), receiving.lost) == (True, False, 1)


@pytest.mark.swallows("linking a run: ValueError")
def test_an_error_of_take_is_logged_and_the_next_answer_is_taken() -> None:
    receiving, worker, before = Receiving(), Worker(), errors["linking a run"]
    receiving.reader.follow(Connection(worker.there))
    worker.answer(RunTagged("bad"))
    worker.answer(RunTagged("good"))
    wait_for(lambda: receiving.taken == [RunTagged("good")])
    assert errors["linking a run"] == before + 1


@pytest.mark.swallows("receiving from the worker: ValueError")
def test_bytes_of_another_protocol_end_the_connection() -> None:
    receiving, worker = Receiving(), Worker()
    connection = Connection(worker.there)
    receiving.reader.follow(connection)
    worker._socket.sendall(b"\xff" * 100)
    wait_for(connection.lost.is_set)


@pytest.mark.usefixtures("waits")
def test_a_stop_loses_no_received_data() -> None:
    """Not even half a message."""
    receiving, worker = Receiving(), Worker()
    receiving.stop()
    receiving.start()
    receiving.reader.follow(Connection(worker.there))
    frame = encode([RunTagged("run")])
    worker._socket.sendall(frame[:7])
    wait_for(lambda: receiving.reader._socket is not None and receiving.reader._reader._bytes)
    receiving.stop()
    worker._socket.sendall(frame[7:])
    receiving.start()
    wait_for(lambda: receiving.taken == [RunTagged("run")])


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("interruptible", [True, False])
def test_a_worker_without_a_handshake_counts_as_lost(interruptible: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_reader, "_ANSWER_S", 0.05)
    receiving, worker = Receiving(interruptible=interruptible), Worker(is_ready=False)
    connection = Connection(worker.there)
    receiving.reader.follow(connection)
    wait_for(connection.lost.is_set)
    assert (connection.is_answered, connection.is_silent, receiving.lost) == (False, True, 1)


@pytest.mark.parametrize("interruptible", [True, False])
def test_a_worker_may_be_silent_after_its_handshake(interruptible: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_reader, "_ANSWER_S", 0.05)
    receiving, worker = Receiving(interruptible=interruptible), Worker()
    connection = Connection(worker.there)
    receiving.reader.follow(connection)
    wait_for(lambda: connection.is_answered)
    time.sleep(0.1)
    worker.answer(RunTagged("run"))
    wait_for(lambda: receiving.taken == [RunTagged("run")])


@pytest.mark.swallows("receiving from the worker: ValueError")
@pytest.mark.parametrize(
    "first", [RunTagged("run"), WorkerReady("another program", 1, 1), WorkerReady("autoinstrument worker", 0, 1)]
)
def test_nothing_is_taken_before_the_handshake_of_this_version(first: Record) -> None:
    receiving, worker = Receiving(), Worker(is_ready=False)
    connection = Connection(worker.there)
    receiving.reader.follow(connection)
    worker._socket.sendall(encode([first, RunTagged("run")]))
    wait_for(connection.lost.is_set)
    assert (receiving.taken, connection.is_answered, connection.is_silent) == ([], False, True)


def test_a_worker_that_ends_before_it_has_answered_is_not_silent() -> None:
    """It was about to end when the process connected; the next one can be used."""
    receiving, worker = Receiving(), Worker(is_ready=False)
    connection = Connection(worker.there)
    receiving.reader.follow(connection)
    worker.die()
    wait_for(connection.lost.is_set)
    assert (connection.is_answered, connection.is_silent) == (False, False)


@pytest.mark.parametrize("connected", [True, False])
def test_the_last_work_runs_instead_of_more_answers(connected: bool) -> None:
    receiving, worker, threads = Receiving(), Worker(), []
    if connected:
        receiving.reader.follow(Connection(worker.there))
        worker.answer(RunTagged("run"))
        wait_for(lambda: receiving.taken)
    receiving.reader.run_last(lambda: threads.append(threading.current_thread()), PATIENCE_S)
    assert threads == [receiving.thread]


def test_last_work_that_hangs_is_not_waited_for() -> None:
    receiving, hangs = Receiving(), threading.Event()
    receiving.reader.run_last(lambda: hangs.wait() and None, 0.01)
    assert receiving.thread.is_alive()
    hangs.set()


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no descriptors on Windows")
@pytest.mark.parametrize("interruptible", [True, False])
def test_nothing_is_read_from_a_socket_that_has_the_number_of_the_own(interruptible: bool) -> None:
    """As where a script closes all descriptors, and opens sockets."""
    receiving, worker = Receiving(interruptible=interruptible), Worker()
    connection = Connection(worker.there)
    receiving.reader.follow(connection)
    wait_for(lambda: connection.is_answered)
    here, there = socket.socketpair()
    with there:
        own = receiving.reader._socket
        assert own is not None
        number = own.get().fileno()
        os.dup2(here.fileno(), number)
        here.close()
        there.sendall(b"of the script")
        worker.answer(RunTagged("run"))  # the thread may be reading from the former socket
        wait_for(connection.lost.is_set)
        with socket.socket(fileno=number) as of_script:
            assert of_script.recv(100) == b"of the script"
