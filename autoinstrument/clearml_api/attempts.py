"""Make a request: within a deadline, several times if the server only has a hiccup, with a heartbeat meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tenacity

from autoinstrument.clearml_api.backoff import jittered
from autoinstrument.clearml_api.deadline import Deadline, OverdueError
from autoinstrument.clearml_api.errors import ClearMLError, HiccupError, InternalError, UnavailableError
from autoinstrument.clearml_api.failures import request_failure
from autoinstrument.clearml_api.responses import data_of

DEADLINE_S = 30.0
"""Total deadline of a request, in seconds; the limits in `sdk` are for each packet, and a server may send a byte every
nine seconds."""
_ATTEMPTS = 3
_PATIENCE_S = 2.0
"""The longest pause asked for by a server that is kept here; a longer one is left to the caller."""
_BEAT_S = 0.25


class Attempts:
    """Makes requests, one after the other.

    Args:
        meanwhile: called several times a second on the caller's thread, during requests and pauses.
        abandon: called when a request is overdue, and its thread is left behind with everything that it uses.
    """

    def __init__(self, meanwhile: Callable[[], None], abandon: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self._abandon = abandon
        self._beat_at = 0.0
        self._deadline = Deadline("autoinstrument-request")

    def several(self, send: Callable[[], Any], action: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Make a request, up to three times, and return the data of its response.

        Args:
            send: sends the request once and returns the HTTP response; it runs on another thread.
            action: name of the request, for messages.
            deadline_s: time limit of each attempt, in seconds.

        Raises:
            ClearMLError: the last attempt did not succeed.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, (HiccupError, InternalError)) and error.retry_after_s <= _PATIENCE_S
            ),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=self._pause_s,
            sleep=self.pause,
            reraise=True,
        )
        return retrying(self.once, send, action, deadline_s)

    def once(self, send: Callable[[], Any], action: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Make a request once; arguments, result and errors are those of `several`."""
        if time.monotonic() - self._beat_at > _BEAT_S:  # requests may be short and many
            self._beat()
        try:
            response = self._deadline.do(send, deadline_s, tick_s=_BEAT_S, tick=self._beat)
        except OverdueError as error:
            self._abandon()
            raise UnavailableError(f"{action}: {error}") from None
        except ClearMLError:
            raise
        except Exception as error:
            raise request_failure(error, action) from error
        return data_of(response, action)

    def pause(self, seconds: float) -> None:
        """Wait, with heartbeats."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._beat()
            time.sleep(min(left, _BEAT_S))

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, UnavailableError) else 0.0
        return max(asked_s, jittered(0.1, 0.2 * 2**state.attempt_number))

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._meanwhile()
