from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from autoinstrument.records import (
    ConsoleWritten,
    Delivered,
    ProcessExiting,
    Record,
    RunAnnounced,
    RunDeleted,
    RunTagged,
    TagDeleted,
)
from autoinstrument.transport import forks
from autoinstrument.transport.deferred_records import DeferredStart
from autoinstrument.transport.forkable_threads import PREFIX
from autoinstrument.transport.sender import Sender
from autoinstrument.transport.worker_link import Attempt
from tests.unit.transport.worker import EXITING, PATIENCE_S, Worker, point, wait_for

INTRODUCTION = RunDeleted("the process")


class Training:
    """A sender as the agent has it, and the records that it got."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = workers
        self.attempts: list[int] = []
        self.answers: list[Record] = []
        self.left = 0
        self.sender = Sender(self.connect, lambda attempt: [INTRODUCTION], self.answers.append, self.leave)

    def connect(self, attempt: Attempt) -> socket.socket:
        self.attempts.append(attempt.number)
        if attempt.number >= len(self.workers):
            raise OSError("no worker")
        return self.workers[attempt.number].there

    def leave(self) -> None:
        self.left += 1

    def finish(self, wait_s: float = PATIENCE_S) -> bool:
        return self.sender.finish(EXITING._replace(wait_s=wait_s))


@pytest.fixture
def training() -> Iterator[Training]:
    training = Training(Worker())
    yield training
    training.workers[0].die()


def received(worker: Worker, last: Record) -> list[Record]:
    return worker.receive(last.__eq__)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(PREFIX)}


def delivers(worker: Worker) -> Callable[[], None]:
    def deliver() -> None:
        worker.receive(lambda record: isinstance(record, ProcessExiting))
        worker.answer(Delivered())

    return deliver


def test_a_process_that_logs_nothing_has_no_thread_and_no_socket(training: Training) -> None:
    before = threads()
    training.sender.post(ConsoleWritten("stdout", "text", 0))
    assert threads() == before
    assert training.attempts == []
    began = time.monotonic()
    assert training.finish()
    assert time.monotonic() - began < PATIENCE_S


def test_text_from_before_the_first_record_comes_with_it(training: Training) -> None:
    training.sender.post(ConsoleWritten("stdout", "text", 0))
    training.sender.post(point(1))
    found = received(training.workers[0], point(1))
    assert found == [INTRODUCTION, ConsoleWritten("stdout", "text", 0), point(1)]


def test_an_announcement_is_on_the_wire_when_the_call_returns(training: Training) -> None:
    announced = RunAnnounced("run", "uri", 1, True, "")
    training.sender.announce(announced)
    assert received(training.workers[0], announced) == [announced]
    training.sender.post(point(1))
    assert received(training.workers[0], point(1)) == [INTRODUCTION, point(1)]
    assert training.attempts == [0]


def test_a_signal_handler_that_logs_while_its_thread_connects_does_not_hang() -> None:
    """A handler runs between any two instructions of the main thread, which may be starting the worker just then."""
    worker, announced = Worker(), RunAnnounced("run", "uri", 1, True, "")

    class Interrupted(Training):
        def connect(self, attempt: Attempt) -> socket.socket:
            self.attempts.append(attempt.number)
            if len(self.attempts) == 1:
                self.sender.announce(announced)
                self.sender.post(point(1))
            return worker.there

    training = Interrupted(worker)
    calling = threading.Thread(target=training.sender.announce, args=[announced], daemon=True)
    calling.start()
    calling.join(PATIENCE_S)
    assert not calling.is_alive()
    training.sender.post(point(2, "another"))
    assert received(worker, point(2, "another")) == [announced, INTRODUCTION, point(1), point(2, "another")]
    assert training.attempts == [0]
    worker.die()


def test_what_the_threads_wait_for_is_made_when_they_start(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may have gevent replace locks, queues and threads after it has imported MLflow."""
    queues = [queue.SimpleQueue[None]() for _ in range(9)]
    monkeypatch.setattr(queue, "SimpleQueue", iter(queues).__next__)
    training.sender.post(point(1))
    assert {training.sender._pacing._wake._bell, training.sender._answers._next} <= set(queues)
    assert received(training.workers[0], point(1)) == [INTRODUCTION, point(1)]


def test_the_exit_waits_for_the_workers_answer(training: Training) -> None:
    training.sender.post(point(1))
    answering = threading.Thread(target=delivers(training.workers[0]))
    answering.start()
    assert training.finish()
    answering.join()
    assert training.workers[0].received[-2:] == [point(1), EXITING]
    assert training.answers == [], "the answer is the sender's own"


def test_what_a_read_notes_at_the_exit_is_read_before_the_end(training: Training) -> None:
    """As the look-up of an assessed trace notes that its run's traces have changed."""
    training.sender.post_soon("", "look-up", lambda: training.sender.post_soon("run", "traces", lambda: point(1)))
    answering = threading.Thread(target=delivers(training.workers[0]))
    answering.start()
    assert training.finish()
    answering.join()
    assert training.workers[0].received[-2:] == [point(1), EXITING]


def test_the_exit_waits_no_longer_than_it_may(training: Training) -> None:
    training.sender.post(point(1))
    assert not training.finish(0.05)


def test_the_exit_waits_no_longer_for_a_worker_that_dies(training: Training) -> None:
    training.sender.post(point(1))
    received(training.workers[0], point(1))
    threading.Timer(0.05, training.workers[0].die).start()
    began = time.monotonic()
    assert not training.finish()
    assert time.monotonic() - began < PATIENCE_S


def test_reads_are_made_before_the_end_of_their_run(training: Training) -> None:
    training.sender.post_soon("run", "tags", lambda: point(1), wait_s=20.0)
    training.sender.post_now("run")
    training.sender.post(point(2, "another"))
    assert received(training.workers[0], point(2, "another")) == [INTRODUCTION, point(1), point(2, "another")]


def test_answers_are_taken_and_replied_to(training: Training) -> None:
    training.sender.post(point(1))
    received(training.workers[0], point(1))
    training.workers[0].answer(RunTagged("run"))
    wait_for(lambda: training.answers == [RunTagged("run")])
    training.sender.reply(TagDeleted("run", "reply"))
    assert received(training.workers[0], TagDeleted("run", "reply"))


def test_a_single_point_is_taken_while_the_threads_are_at_work(training: Training) -> None:
    (single,) = point(1).points
    assert not training.sender.post_point("run", single), "nothing was posted before"
    training.sender.post(point(0))
    assert training.sender.post_point("run", single)
    records = training.workers[0].receive(lambda record: single in getattr(record, "points", ()))
    assert records[-1].points[-1] == single  # type: ignore[union-attr]
    training.sender.direct = True
    assert not training.sender.post_point("run", single)


def test_a_single_point_wakes_no_thread_that_a_fork_has_stopped(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "WANTED", True)
    training.sender.post(point(1))
    received(training.workers[0], point(1))
    for thread in training.sender._stop_threads():
        threading.Thread.join(thread, PATIENCE_S)
    assert not training.sender.post_point("run", point(2).points[0])
    training.sender._resume()


def test_where_records_are_sent_at_once_they_are_sent_by_the_caller(training: Training) -> None:
    before = threads()
    training.sender.direct = True
    training.sender.post(point(1))
    assert received(training.workers[0], point(1)) == [point(1)]
    assert threads() == before
    assert not training.sender.has_room(1), "contents would have to wait"


def test_without_a_worker_runs_are_recorded_and_left_to_sync() -> None:
    training, starts = Training(), []
    training.sender.post(DeferredStart(lambda: starts.append("first")))
    wait_for(lambda: training.left)
    assert training.sender.failure == "no worker can be started (OSError: no worker)"
    assert not training.sender.post_point("run", point(1).points[0])
    training.sender.post(DeferredStart(lambda: starts.append("second")))
    began = time.monotonic()
    assert not training.finish()
    assert time.monotonic() - began < PATIENCE_S
    assert starts == ["first", "second"]
    assert training.attempts == [0, 1]


def test_where_no_thread_can_be_started(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of the interpreter: what was announced is on the wire, and nothing is waited for."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    announced = RunAnnounced("run", "uri", 1, True, "")
    training.sender.announce(announced)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    training.sender.post(point(1))
    assert received(training.workers[0], announced) == [announced]
    assert not training.finish()
    training.sender.do_last(lambda: None, PATIENCE_S)


def test_the_last_work_is_done_on_the_receiving_thread(training: Training) -> None:
    done: list[str] = []
    training.sender.do_last(lambda: done.append("before a start"), PATIENCE_S)
    training.sender.post(point(1))
    training.sender.do_last(lambda: done.append(threading.current_thread().name), PATIENCE_S)
    assert done == [f"{PREFIX}receive"]


def test_threads_stop_for_a_fork_and_go_on(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that `forks` calls from Python 3.12 on; here they are called on any version."""
    monkeypatch.setattr(forks, "WANTED", True)
    training.sender.post(point(1))
    received(training.workers[0], point(1))
    stopped = training.sender._stop_threads()
    for thread in stopped:
        threading.Thread.join(thread, PATIENCE_S)
    assert [thread.name for thread in stopped] == [f"{PREFIX}receive", f"{PREFIX}send"]
    assert not any(thread.is_alive() for thread in stopped)
    training.sender._resume()
    training.sender.post(point(2))
    assert received(training.workers[0], point(2)) == [point(2)]
    training.workers[0].answer(RunTagged("run"))
    wait_for(lambda: training.answers == [RunTagged("run")])


def test_a_thread_that_posts_before_it_stops_keeps_the_other_one_stopped(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork would find both: what the sending thread does may post something, as the look for a new console does."""
    monkeypatch.setattr(forks, "WANTED", True)
    begun, stopped = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        stopped.wait(PATIENCE_S)
        training.sender.post(point(1))
        training.sender.post_soon("run", "tags", lambda: None)

    training.sender.post(DeferredStart(work))
    begun.wait(PATIENCE_S)
    receiving, sending = training.sender._stop_threads()
    threading.Thread.join(receiving, PATIENCE_S)
    stopped.set()
    threading.Thread.join(sending, PATIENCE_S)
    assert not receiving.is_alive()
    assert not sending.is_alive()
    assert training.sender._threads.running() == []
    training.sender._resume()
    assert received(training.workers[0], point(1))[-1] == point(1)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_an_empty_buffer_and_a_connection_of_its_own() -> None:
    parent, child = Worker(), Worker()
    training = Training(parent)
    training.sender.post(point(1))
    received(parent, point(1))
    pid = os.fork()
    if pid == 0:
        try:
            training.workers = (child,)
            training.attempts.clear()
            training.sender.post(ConsoleWritten("stdout", "text alone", 0))
            is_silent = not training.attempts and not training.sender._buffer
            training.sender.post(point(2))
            os._exit(0 if is_silent and received(child, point(2)) == [point(2)] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    training.sender.post(point(3))
    assert received(parent, point(3)) == [point(3)]
    parent.die()
