"""Work beside the worker's loop: the number of jobs at the same time, and jobs that never wait."""

from __future__ import annotations

import threading

import pytest

from autoinstrument.worker.jobs import Jobs
from tests.unit.transport.worker import PATIENCE_S, wait_for


class Blocking:
    """Jobs that go on until `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.begun = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.begun += 1
        self.over.wait(PATIENCE_S)


def test_a_short_job_does_not_wait_for_long_ones() -> None:
    jobs, long, done = Jobs(threads=3, long=2), Blocking(), threading.Event()
    for _ in range(5):
        jobs.submit(long)
    wait_for(lambda: long.begun == 2)
    jobs.submit(done.set, is_short=True)
    assert done.wait(PATIENCE_S)
    assert long.begun == 2, "three wait for their turn"
    long.over.set()
    wait_for(lambda: long.begun == 5)


def test_one_thread_is_enough_for_one_job_after_the_other() -> None:
    jobs, names = Jobs(), list[int]()
    for number in range(1, 6):
        jobs.submit(lambda: names.append(threading.get_ident()), is_short=bool(number % 2))
        wait_for(lambda number=number: len(names) == number and jobs._idle == jobs._threads)
    assert len(set(names)) == 1


@pytest.mark.swallows("working beside the worker's loop: ZeroDivisionError")
def test_a_job_that_fails_costs_no_thread() -> None:
    jobs, done = Jobs(threads=1, long=1), threading.Event()
    jobs.submit(lambda: 1 // 0)
    jobs.submit(done.set)
    assert done.wait(PATIENCE_S)


def test_a_process_that_is_ending_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    done: list[threading.Thread] = []
    Jobs().submit(lambda: done.append(threading.current_thread()))
    assert done == [threading.current_thread()]
