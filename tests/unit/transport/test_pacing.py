from __future__ import annotations

import sys
import threading
import time
from types import FrameType
from typing import Any

from autoinstrument.transport.pacing import Pacing
from tests.unit.transport.worker import PATIENCE_S


def run(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(PATIENCE_S)
    return not thread.is_alive()


def test_a_wake_before_the_wait_counts() -> None:
    pacing = Pacing()
    pacing.wake()
    assert ends(run(pacing.wait))


def test_a_wake_may_interrupt_a_wake_at_any_instruction() -> None:
    """As one of a signal handler does, which prints while the main thread logs."""

    def wake(interrupted_at: int) -> int:
        pacing, instructions = Pacing(), 0

        def interrupt(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal instructions
            frame.f_trace_opcodes = True
            if instructions == interrupted_at:
                pacing.wake()
            instructions += 1
            return interrupt

        sys.settrace(interrupt)
        try:
            pacing.wake()
        finally:
            sys.settrace(None)
        return instructions

    def wake_again_and_again() -> None:
        number = 0
        while number < wake(number):
            number += 1
        assert number > 20

    assert ends(run(wake_again_and_again))


def test_each_wait_needs_a_wake_of_its_own() -> None:
    pacing = Pacing()
    pacing.wake()
    pacing.wake()
    assert ends(run(pacing.wait))
    waiting = run(pacing.wait)
    waiting.join(0.2)
    assert waiting.is_alive()
    pacing.wake()
    assert ends(waiting)


def test_no_wake_is_lost_while_a_wait_ends() -> None:
    """The thread would wait for ever with something to send, until the process ends."""
    pacing = Pacing()
    pacing.hurry()  # without pauses, so that ends of waits and wakes meet often
    rounds, put, taken = 20_000, [0], [0]

    def take() -> None:
        while taken[0] < rounds:
            taken[0] = put[0]
            if taken[0] < rounds:
                pacing.wait_for_wake()

    taking = run(take)
    for number in range(1, rounds + 1):
        put[0] = number
        pacing.wake()
    assert ends(taking)


def test_a_wait_ends_in_time() -> None:
    Pacing().wait(0.01)


def test_hurrying_takes_no_pauses() -> None:
    pacing = Pacing()
    assert not pacing.is_hurrying
    pacing.hurry()
    assert pacing.is_hurrying
    pacing.go_on()
    assert pacing._no_pause.is_set(), "after a fork, too"


def test_an_interruption_ends_pauses_until_the_thread_goes_on() -> None:
    pacing = Pacing()
    pacing.interrupt()
    assert ends(run(pacing.wait))
    assert pacing._no_pause.is_set()
    pacing.go_on()
    assert not pacing._no_pause.is_set()


def test_look_wakes_a_thread_that_counts_as_awake() -> None:
    pacing = Pacing()
    pacing.wake()
    pacing._wake.clear()
    pacing.look()
    assert ends(run(pacing.wait))


def test_points_are_gathered_longer_unless_something_else_comes() -> None:
    pacing = Pacing()
    began = time.monotonic()
    pacing.wake(soon=False)
    pacing.wait()
    assert time.monotonic() - began > 0.2
    pacing.wake(soon=False)
    pacing.wake()
    assert pacing._soon.is_set()
    pacing.wait()
    assert not pacing._soon.is_set(), "the next points are gathered again"


def test_an_ending_process_gathers_no_points() -> None:
    pacing = Pacing()
    pacing.hurry()
    began = time.monotonic()
    for _ in range(500):  # 100 s with pauses
        pacing.wake(soon=False)
        pacing.wait()
    assert time.monotonic() - began < PATIENCE_S
