"""A session with the ClearML server: everything that is sent to it, as storable values, bounded in time and size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoinstrument.clearml_api import sdk, storable
from autoinstrument.clearml_api.attempts import DEADLINE_S, Attempts
from autoinstrument.clearml_api.login import Login
from autoinstrument.clearml_api.responses import data_of


class Session:
    """Sends requests to one server, from any thread.

    All methods raise `ClearMLError`; see `errors` for its kinds.

    Args:
        lean: see `Login`.

    Attributes:
        login: addresses and settings of the server.
    """

    def __init__(self, *, lean: bool = False) -> None:
        self.login = Login(lean=lean)
        self._on_answer: Callable[[], object] = lambda: None
        self._attempts = Attempts(self.login.forget)

    def call_on_answer(self, note: Callable[[], object]) -> None:
        """Call a function after each request to the API that has succeeded, on the thread that made it."""
        self._on_answer = note

    def call(self, action: str, /, **body: Any) -> dict[str, Any]:
        """Call `service.action` of the API and return the response's data."""
        return self._answered(self.request(_request(action, body), action))

    def call_once(self, action: str, /, **body: Any) -> dict[str, Any]:
        """Call as `call` does, but in one attempt: for what must not be done twice.

        After an error it may have been done nevertheless.
        """
        return self._answered(self._attempts.once(self._logged_in(_request(action, body)), action))

    def add_events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send events in one batch; return the data of each response, of which there are several if the SDK cuts it."""
        if not events:
            return []
        action, batch = "events.add_batch", storable.value(events)
        parts: list[Any] = []

        def send(session: Any) -> Any:
            parts[:] = sdk.send_batch(session, action, batch)
            return next((response for response in parts if response.status_code != 200), parts[0])

        self._answered(self.request(send, action))
        return [data_of(response, action) for response in parts]

    def ping(self) -> str:
        """Send one small request, and return the `Date` of its response, "" if it has none."""
        dates: list[str] = []

        def send(session: Any) -> Any:
            response = sdk.send(session, "debug.ping", {})
            dates.append(str(response.headers.get("Date", "")))
            return response

        self._answered(self._attempts.once(self._logged_in(send), "debug.ping"))
        return dates[-1]

    def request(self, send: Callable[[Any], Any], action: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Make any request, and return the data of its response; `call` and `add_events` are for the API.

        Args:
            send: sends the request once, given the SDK's session, and returns the HTTP response. It runs on another
                thread, which is left behind if it takes too long.
            action: name of the request, for messages.
            deadline_s: time limit of each attempt, in seconds.
        """
        return self._attempts.several(self._logged_in(send), action, deadline_s)

    def _answered(self, data: dict[str, Any]) -> dict[str, Any]:
        self._on_answer()
        return data

    def _logged_in(self, send: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: send(self.login.session())


def _request(action: str, body: dict[str, Any]) -> Callable[[Any], Any]:
    fit = storable.value(body)
    return lambda session: sdk.send(session, action, fit)
