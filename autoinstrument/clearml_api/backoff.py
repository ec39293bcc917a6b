"""When the ClearML server may be asked again after it failed, and when there is no use in waiting."""

from __future__ import annotations

import random
import time

from autoinstrument.clearml_api.errors import ClearMLError, NotAllowedError, UnavailableError, UnreachableError

_RETRY_S, _RETRY_MOST_S = 2.0, 60.0
_HOPELESS = 3
"""Failures in a row after which a worker whose training process is gone leaves the rest to `sync`."""


class Backoff:
    """The state of the one server: how often it failed in a row, and how long to leave it alone."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311  (of its own: a worker that is a thread shares the training's)
        self._wait_s = _RETRY_S
        self._next = 0.0
        self._refused = False
        self._slow = False
        self._failures = 0

    def is_due(self) -> bool:
        return not self._refused and time.monotonic() >= self._next

    def has_hope(self) -> bool:
        """False where waiting some seconds longer will hardly help."""
        return not self._refused and self._failures < _HOPELESS

    def failed(self, error: ClearMLError, took_s: float) -> None:
        self._failures += _HOPELESS if isinstance(error, UnreachableError) else 1
        self._refused = isinstance(error, NotAllowedError)
        asked_s = error.retry_after_s if isinstance(error, UnavailableError) else 0.0
        self._slow = took_s > 1 or asked_s > 0
        # Jitter: a hundred workers that lost their server together are not to come back together.
        self._next = time.monotonic() + max(asked_s, self._wait_s * self._random.uniform(0.75, 1.25))
        self._wait_s = min(self._wait_s * 2, _RETRY_MOST_S)

    def succeeded(self) -> None:
        self._wait_s, self._failures = _RETRY_S, 0

    def try_once_more(self) -> None:
        """Shorten the wait, because the process is about to go; not for a server that hangs or asked for a pause."""
        if not self._slow:
            self._next = 0.0
