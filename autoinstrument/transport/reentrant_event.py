"""An event that a signal handler can set, whatever it interrupts."""

from __future__ import annotations

import contextlib
import queue


class ReentrantEvent:
    """As `threading.Event`, for one thread that waits.

    `threading.Event.set` holds a lock. Where a signal handler interrupts it and sets the same event, because it prints
    or logs to MLflow, the process hangs. `SimpleQueue.put` is reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        """Return True between `set` and `clear`."""
        return self._is_set

    def set(self) -> None:
        """Wake the thread that waits, and let it wait no more until `clear`."""
        self._is_set = True
        self._bell.put(None)

    def clear(self) -> None:
        """Let the thread wait again; a `set` meanwhile ends its next wait."""
        while not self._bell.empty():
            self._bell.get()
        self._is_set = False

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for `set`, `timeout_s` at most; for the one thread."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=timeout_s)
