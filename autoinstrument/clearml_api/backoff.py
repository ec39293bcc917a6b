"""Decide when a server that failed is called again, and when waiting for it is useless."""

from __future__ import annotations

import random
import time

from autoinstrument.clearml_api.errors import ClearMLError, NotAllowedError, UnavailableError, UnreachableError

_RETRY_S, _RETRY_MOST_S = 2.0, 60.0
_HOPELESS = 3
"""Consecutive failures after which a worker whose training process is gone leaves the rest to `sync`; not counted are
those of a server that answers, and names a pause of a minute at most."""
_random = random.Random()  # noqa: S311
"""A separate generator: a worker that is a thread must not change the state of the training's."""


def jittered(least_s: float, most_s: float) -> float:
    """Return a random pause in seconds: workers that lost their server together should not return together."""
    return _random.uniform(least_s, most_s)


class Backoff:
    """The pauses of one server, which double with each failure up to a minute; for calls of any thread."""

    def __init__(self) -> None:
        self._wait_s = _RETRY_S
        self._next = 0.0
        self._refused = False
        self._slow = False
        self._failures = self._in_vain = 0
        self._failed_at = 0.0
        self._has_answered = False

    def is_due(self) -> bool:
        """Return True if the server may be called now."""
        return not self._refused and time.monotonic() >= self._next

    def has_hope(self) -> bool:
        """Return False if waiting some seconds longer will hardly help."""
        return not self._refused and self._in_vain < _HOPELESS

    @property
    def has_failed(self) -> bool:
        """True if no request has succeeded since the last failure: one call at a time should try."""
        return self._failures > 0 and not self._has_answered

    def failed(self, error: ClearMLError, took_s: float) -> None:
        """Note that a call failed with an error after `took_s` seconds.

        Calls that were in progress at the same time count once.
        """
        now = time.monotonic()
        if now - took_s < self._failed_at:
            return
        self._failed_at, self._has_answered = now, False
        self._failures += 1
        self._refused = isinstance(error, NotAllowedError)
        asked_s = error.retry_after_s if isinstance(error, UnavailableError) else 0.0
        if not 0 < asked_s <= _RETRY_MOST_S:
            self._in_vain += _HOPELESS if isinstance(error, UnreachableError) else 1
        self._slow = took_s > 1 or asked_s > 0
        self._next = now + max(asked_s, jittered(0.75 * self._wait_s, 1.25 * self._wait_s))
        self._wait_s = min(self._wait_s * 2, _RETRY_MOST_S)

    def answered(self) -> None:
        """Note that the first requests of a call succeeded: others may be made beside it, which may take long."""
        self._has_answered = True

    def succeeded(self) -> None:
        """Note that a call succeeded."""
        self._wait_s, self._failures, self._in_vain = _RETRY_S, 0, 0

    def lift_refusal(self) -> None:
        """Call the server again although it has refused the credentials."""
        if self._refused:
            self._refused, self._next = False, 0.0

    def try_once_more(self) -> None:
        """Call the server at once, because the process is about to end; not if it hangs or asked for a pause."""
        if not self._slow:
            self._next = 0.0
