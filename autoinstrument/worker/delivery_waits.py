"""A training process that waits until its runs are delivered: in a call of the script, or at its exit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from autoinstrument.records import Delivered, DeliveryAwaited, Record, RunsDelivered


class DeliveryWaits:
    """The waits of one process, and the worker's answers.

    Args:
        send: sends a record to the process.
    """

    def __init__(self, send: Callable[[Record], object]) -> None:
        self._send = send
        self._awaited: DeliveryAwaited | None = None
        self._undelivered: set[str] = set()
        """Runs that have had something left to send ever since the script began to wait."""
        self._is_exiting = self._is_answered = False

    @property
    def any_open(self) -> bool:
        """True while the process waits."""
        return self._awaited is not None or self.of_exit

    @property
    def of_exit(self) -> bool:
        """True while the process waits at its exit."""
        return self._is_exiting and not self._is_answered

    @property
    def is_answered(self) -> bool:
        """True if the process was told that it need not wait at its exit."""
        return self._is_answered

    def begin(self, awaited: DeliveryAwaited, runs: Iterable[str]) -> None:
        """Note that the script waits for the delivery of what it has logged to runs by now."""
        self._awaited, self._undelivered = awaited, set(runs)

    def begin_exit(self) -> None:
        """Note that the process waits at its exit."""
        self._is_exiting, self._is_answered = True, False

    def answer(self, is_undelivered: Callable[[str], bool]) -> None:
        """Tell a script that waits that all is delivered, if that is so.

        Args:
            is_undelivered: returns True if something is left to send of a run, by its id.
        """
        if self._awaited is not None:
            self._undelivered = set(filter(is_undelivered, self._undelivered))
            if not self._undelivered:
                self._send(RunsDelivered(self._awaited.number))
                self._awaited = None

    def answer_exit(self) -> None:
        """Tell the process that it need not wait at its exit."""
        self._is_answered = True
        self._send(Delivered())
