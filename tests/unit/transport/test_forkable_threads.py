from __future__ import annotations

import signal
import sys
import threading

import pytest

from autoinstrument.transport.forkable_threads import PREFIX, ForkableThreads
from tests.unit.transport.worker import PATIENCE_S, wait_for


class Loops:
    """Two loops that count their rounds."""

    def __init__(self) -> None:
        self.rounds = {"a": 0, "b": 0}
        self.is_over = threading.Event()
        self.threads = ForkableThreads({"a": lambda: self.run("a"), "b": lambda: self.run("b")})

    def run(self, name: str) -> None:
        while not self.is_over.wait(0.001):
            self.rounds[name] += 1
            if self.threads.stops(name):
                return

    def names(self) -> set[str]:
        return {thread.name for thread in self.threads.running() if thread.is_alive()}


@pytest.fixture
def loops() -> Loops:
    loops = Loops()
    yield loops
    loops.is_over.set()


def test_threads_stop_and_go_on(loops: Loops) -> None:
    loops.threads.start()
    assert loops.names() == {f"{PREFIX}a", f"{PREFIX}b"}
    assert not loops.threads.stopped
    running = loops.threads.running()
    loops.threads.stop()
    for thread in running:
        threading.Thread.join(thread, PATIENCE_S)
    assert (loops.names(), bool(loops.threads.stopped), loops.threads.is_started("a")) == (set(), True, True)
    loops.threads.resume()
    assert loops.names() == {f"{PREFIX}a", f"{PREFIX}b"}
    assert not loops.threads.stopped
    before = dict(loops.rounds)
    wait_for(lambda: all(loops.rounds[name] > before[name] for name in before))


def test_a_thread_that_has_not_stopped_is_not_started_twice(loops: Loops) -> None:
    loops.threads.start()
    loops.threads.stop()
    loops.threads.resume()
    wait_for(lambda: loops.names() == {f"{PREFIX}a", f"{PREFIX}b"} or loops.threads.stopped)
    loops.threads.resume()
    assert sum(thread.name.startswith(f"{PREFIX}a") for thread in threading.enumerate()) == 1


def test_resuming_waits_for_no_lock(loops: Loops) -> None:
    loops.threads.start()
    loops.threads.stop()
    wait_for(lambda: not loops.names())
    with loops.threads._lock:
        loops.threads.resume()
        assert loops.threads.stopped
    loops.threads.resume()
    assert not loops.threads.stopped


def test_a_script_that_joins_all_threads_does_not_wait_for_them(loops: Loops) -> None:
    loops.threads.start()
    for thread in threading.enumerate():
        if thread.name in (f"{PREFIX}a", f"{PREFIX}b"):  # other tests have left threads of a worker
            thread.join()
    assert loops.names() == {f"{PREFIX}a", f"{PREFIX}b"}


def test_nothing_is_started_before(loops: Loops) -> None:
    assert not loops.threads.is_started("a")
    assert loops.threads.running() == []
    loops.threads.resume()
    assert loops.threads.running() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")
def test_signals_of_the_process_are_left_to_its_own_threads() -> None:
    """A script waits for a signal that it has blocked; the system gives it to any thread that has not."""
    blocked: list[set[int]] = []
    threads = ForkableThreads({"a": lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))})
    threads.start()
    wait_for(lambda: blocked)
    assert {signal.SIGTERM, signal.SIGUSR1, signal.SIGINT} <= blocked[0]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")
def test_a_process_without_threads_keeps_its_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under gevent, where a thread is a part of the thread that starts it."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    blocked: list[set[int]] = []
    ForkableThreads({"a": lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}).start()
    assert blocked == [set()]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_tracer_of_all_threads_sees_no_round(loops: Loops) -> None:
    """`python -m trace` fails if a thread adds lines while it writes its results."""
    traced = set[object]()
    threading.settrace(lambda frame, *_: traced.add(frame.f_code))
    try:
        loops.threads.start()
    finally:
        threading.settrace(None)
    wait_for(lambda: all(loops.rounds.values()))
    assert Loops.run.__code__ not in traced


def test_a_debugger_keeps_its_own_way_to_trace(loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    """pydevd replaces `sys.settrace` by a function that prints a warning."""
    called = list[object]()
    monkeypatch.setattr(sys, "settrace", lambda tracer: called.append(tracer))
    loops.threads.start()
    wait_for(lambda: all(loops.rounds.values()))
    assert called == []
