from __future__ import annotations

import threading
import time

from autoinstrument.transport.exit_wait import ExitWait
from tests.unit.transport.worker import PATIENCE_S


def test_the_workers_answer_ends_the_wait() -> None:
    waiting = ExitWait()
    waiting.begin()
    threading.Timer(0.01, waiting.delivered).start()
    assert waiting.wait(PATIENCE_S)


def test_an_earlier_answer_does_not_count() -> None:
    waiting = ExitWait()
    waiting.delivered()
    waiting.begin()
    assert not waiting.wait(0.01)


def test_a_lost_worker_ends_the_wait() -> None:
    waiting = ExitWait()
    waiting.begin()
    waiting.lost()
    began = time.monotonic()
    assert not waiting.wait(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S


def test_without_a_worker_only_the_recording_of_runs_is_waited_for() -> None:
    waiting = ExitWait()
    waiting.recording()
    waiting.alone()
    waiting.begin()
    assert not waiting.wait(0.01)
    threading.Timer(0.01, waiting.recorded).start()
    began = time.monotonic()
    assert not waiting.wait(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S


def test_threads_that_have_stopped_are_not_waited_for() -> None:
    waiting = ExitWait()
    waiting.begin()
    began = time.monotonic()
    assert not waiting.wait(PATIENCE_S, for_worker=False)
    assert time.monotonic() - began < PATIENCE_S
