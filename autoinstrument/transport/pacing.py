"""The pauses of the sending thread: it waits to be woken, gathers records for a moment, and rests between messages."""

from __future__ import annotations

from autoinstrument.transport.reentrant_event import ReentrantEvent

_GATHER_S, _GATHER_POINTS_S, _REST_S = 0.05, 0.25, 0.0005
"""Pauses before records are sent, before they are sent if no process waits for any of them, and between two messages. A
thread that blocks for microseconds only takes the interpreter's lock back before another one that waits for it has
woken up."""


class Pacing:
    """The sending thread's clock. Any thread may wake it, and any signal handler."""

    def __init__(self) -> None:
        self._wake = ReentrantEvent()
        self._awake = False
        self._soon = ReentrantEvent()
        self._hurry = ReentrantEvent()
        self._no_pause = ReentrantEvent()

    @property
    def is_hurrying(self) -> bool:
        """True once the process has begun to end."""
        return self._hurry.is_set()

    def wake(self, *, soon: bool = True) -> None:
        """Make the thread look for work; costs a comparison or two while it is awake.

        Args:
            soon: do not wait for the longer pause to end, which spares both processes from being woken for each point.
        """
        if not self._awake:
            self._awake = True
            self._wake.set()
        if soon and not self._soon.is_set():
            self._soon.set()

    def hurry(self) -> None:
        """Wake the thread, and let it pause no more: the process waits for it."""
        self._hurry.set()
        self._no_pause.set()
        self._soon.set()
        self._wake.set()

    def look(self) -> None:
        """Make the thread check at once whether its connection is lost, also while it is awake."""
        self._wake.set()
        self._soon.set()

    def interrupt(self) -> None:
        """Wake the thread out of any pause, because the process is about to fork."""
        self._wake.set()
        self._no_pause.set()
        self._soon.set()

    def go_on(self) -> None:
        """Let the thread pause again after the fork, unless the process is ending."""
        if not self._hurry.is_set():
            self._no_pause.clear()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait to be woken, `timeout_s` at most, and then for more records to come; for the thread."""
        self._wake.wait(timeout_s)
        if not self._no_pause.is_set():
            self._soon.wait(_GATHER_POINTS_S - _GATHER_S)
            self._no_pause.wait(_GATHER_S)
        self._wait_over()

    def wait_for_wake(self) -> None:
        """Wait to be woken, and not for more records; for the thread."""
        self._wake.wait()
        self._wait_over()

    def _wait_over(self) -> None:
        # In this order: a `wake` between the first two lines is about an item that the thread finds now, one after them
        # sets the event. The other way round, the event would be cleared while no further `wake` would set it.
        self._wake.clear()
        self._awake = False
        self._soon.clear()

    def pause(self, pause_s: float) -> None:
        """Wait before another worker is started, unless the process ends or is about to fork; for the thread."""
        self._no_pause.wait(pause_s)

    def rest(self) -> None:
        """Let other threads run between two messages; for the thread."""
        self._hurry.wait(_REST_S)
