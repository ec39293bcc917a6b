"""Make a request: within a deadline, and several times if the server only has a hiccup."""

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
ATTEMPTS = 3
PATIENCE_S = 2.0
"""Longest pause, asked for by the server, that is waited for here; the caller handles longer ones."""


def made(make: Callable[[], str], find: Callable[[], str]) -> str:
    """Return the id of a new object, of which there must not be two.

    Args:
        make: makes it in one request, and returns its id.
        find: returns the id of the one that an attempt has made although it seemed to fail, "" if there is none.

    Raises:
        ClearMLError: the last attempt did not succeed, or it is not known whether an attempt has.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return make()
        except HiccupError as error:
            if error.retry_after_s > PATIENCE_S:
                raise
            time.sleep(_pause_s(error, attempt))
            if found := find():
                return found
    return make()


class Attempts:
    """Makes requests of any thread, those of one thread one after the other.

    Args:
        abandon: called when a request is overdue, and its thread is left behind with everything that it uses.
    """

    def __init__(self, abandon: Callable[[], None]) -> None:
        self._abandon = abandon
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
                lambda error: isinstance(error, (HiccupError, InternalError)) and error.retry_after_s <= PATIENCE_S
            ),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=lambda state: _pause_s(state.outcome.exception() if state.outcome else None, state.attempt_number),
            sleep=time.sleep,
            reraise=True,
        )
        return retrying(self.once, send, action, deadline_s)

    def once(self, send: Callable[[], Any], action: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Make a request once; arguments, result and errors are those of `several`."""
        try:
            response = self._deadline.do(send, deadline_s)
        except OverdueError as error:
            self._abandon()
            raise UnavailableError(f"{action}: {error}") from None
        except ClearMLError:
            raise
        except Exception as error:
            raise request_failure(error, action) from error
        return data_of(response, action)


def _pause_s(error: BaseException | None, attempt: int) -> float:
    """Return how long to wait, in seconds, after an attempt has failed with an error; the first one is attempt 1."""
    asked_s = error.retry_after_s if isinstance(error, UnavailableError) else 0.0
    return max(asked_s, jittered(0.1, 0.2 * 2**attempt))
