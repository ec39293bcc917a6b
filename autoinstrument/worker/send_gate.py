"""Why nothing of a run may be sent yet, though the server would take it."""

from __future__ import annotations

import time


class SendGate:
    """What a run waits for before anything of it is sent, and when something was sent last."""

    def __init__(self) -> None:
        self._last_sent = 0.0
        self._describe_at: float | None = None
        self._is_held = False

    @property
    def is_open(self) -> bool:
        """True if the run waits for nothing."""
        return not self._is_held and self._describe_at is None

    @property
    def last_sent(self) -> float:
        """When something was sent last, in seconds of the monotonic clock; 0 if nothing was."""
        return self._last_sent

    def note_sent(self) -> None:
        """Note that something is sent now."""
        self._last_sent = time.monotonic()

    @property
    def describe_at(self) -> float | None:
        """When the run must be described without an answer of Git, in seconds of the monotonic clock.

        None if it has been described, or does not wait for that.
        """
        return self._describe_at

    def wait_for_description(self, until: float) -> None:
        """Send nothing until the run is described; see `describe_at`."""
        self._describe_at = until

    def note_described(self) -> None:
        """Note that the run is described, or is about to be."""
        self._describe_at = None

    @property
    def is_held(self) -> bool:
        """True while it is not known how the Task has ended in ClearML."""
        return self._is_held

    def hold(self) -> None:
        """Send nothing until it is known how the Task has ended in ClearML."""
        self._is_held = True

    def release(self) -> None:
        """Note that this is known, and that the Task may be changed."""
        self._is_held = False
