"""Wait at the training process's end until the worker has delivered, or can no longer be expected to."""

from __future__ import annotations

import threading
import time


class ExitWait:
    """Lets one thread wait, at the end of the process, for what the sending and receiving threads report."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._delivered = False
        self._is_alone = False
        self._recorded = threading.Event()

    def begin(self) -> None:
        """Forget an earlier answer: what was logged after it needs another one."""
        self._delivered = False
        if not self._is_alone:
            self._over.clear()

    def delivered(self) -> None:
        """Note that the worker has answered: nothing is left to send."""
        self._delivered = True
        self._over.set()

    def lost(self) -> None:
        """Note that no answer will come over this connection."""
        self._over.set()

    def alone(self) -> None:
        """Note that there is no worker, and that none will be started."""
        self._is_alone = True
        self._over.set()

    def recording(self) -> None:
        """Note that a run has begun, which is recorded although there is no worker."""
        self._recorded.clear()

    def recorded(self) -> None:
        """Note that all runs that have begun are recorded, as far as they can be."""
        self._recorded.set()

    def wait(self, timeout_s: float, *, for_worker: bool = True) -> bool:
        """Wait for the worker's answer, or without a worker until all runs are recorded; `timeout_s` at most.

        Args:
            timeout_s: seconds for both together.
            for_worker: False if the threads that would report it have stopped.

        Returns:
            True if the worker has delivered everything.
        """
        end = time.monotonic() + timeout_s
        if for_worker and not self._is_alone:
            self._over.wait(timeout_s)
        if self._is_alone:
            self._recorded.wait(max(0.0, end - time.monotonic()))
        return self._delivered
