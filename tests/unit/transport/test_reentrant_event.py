from __future__ import annotations

import threading

from autoinstrument.transport.reentrant_event import ReentrantEvent
from tests.unit.transport.worker import PATIENCE_S


def test_it_is_an_event() -> None:
    event = ReentrantEvent()
    event.wait(0.01)
    assert not event.is_set()
    event.set()
    event.wait()
    event.wait()
    assert event.is_set()
    event.clear()
    event.wait(0.01)
    assert not event.is_set()


def test_a_waiting_thread_wakes_up() -> None:
    event = ReentrantEvent()
    waiting = threading.Thread(target=event.wait, daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    event.set()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
