"""A script waits until what it has logged so far is in ClearML."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

from autoinstrument.records import DeliveryAwaited, RunsDelivered

_ASK_S = 1.0
"""Seconds until the question is asked again: the worker may have been replaced."""


class DeliveryWait:
    """Asks the worker, and waits for its answer.

    Args:
        ask: posts the question behind everything that was logged before; returns False if nothing was ever logged.
    """

    def __init__(self, ask: Callable[[DeliveryAwaited], bool]) -> None:
        self._ask = ask
        self._numbers = itertools.count(1)
        self._answered = threading.Condition()
        self._last = 0

    def wait(self, timeout_s: float) -> bool:
        """Wait until all runs of the process have been up to date since this call; return False after `timeout_s`."""
        number, end = next(self._numbers), time.monotonic() + timeout_s
        while True:
            if not self._ask(DeliveryAwaited(number)):
                return True
            with self._answered:
                left_s = end - time.monotonic()
                if self._answered.wait_for(lambda: self._last >= number, max(0.0, min(_ASK_S, left_s))):
                    return True
            if left_s <= _ASK_S:
                return False

    def take(self, answer: RunsDelivered) -> None:
        """Note an answer; for the receiving thread."""
        with self._answered:
            self._last = max(self._last, answer.number)
            self._answered.notify_all()
