"""Work that hangs is left behind; the next piece is done."""

from __future__ import annotations

import threading

import pytest

from autoinstrument.clearml_api.deadline import Deadline, OverdueError
from tests.unit.transport.worker import wait_for


def test_results_and_errors_come_to_the_caller() -> None:
    deadline = Deadline("test")
    names = {deadline.do(lambda: threading.current_thread().name, 30) for _ in range(3)}
    assert names == {"test"}
    with pytest.raises(ZeroDivisionError):
        deadline.do(lambda: 1 // 0, 30)
    assert deadline.do(lambda: 1, 30) == 1


def test_work_that_hangs_is_left_behind_with_its_thread() -> None:
    deadline, over = Deadline("test"), threading.Event()
    with pytest.raises(OverdueError, match="no answer within 1 s"):
        deadline.do(over.wait, 0.6)
    assert deadline.do(lambda: "next", 30) == "next"
    over.set()


def test_threads_do_not_wait_for_each_others_work() -> None:
    """And when a thread ends, the one that has worked for it ends."""
    deadline, both = Deadline("of two"), threading.Barrier(2, timeout=30)
    asking = [threading.Thread(target=deadline.do, args=(both.wait, 30)) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert not both.broken
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "of two"])


def test_a_process_that_is_ending_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OverdueError, match="not begun, because the process is ending"):
        Deadline("test").do(lambda: 1, 30)
