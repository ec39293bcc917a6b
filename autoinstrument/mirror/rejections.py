"""Data that the server refuses: it is found, left out and named, and everything else is delivered.

The server refuses an item if it says so, or if the item meets an internal error each time while the server is well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from autoinstrument.clearml_api.errors import ClearMLError, InternalError, RefusedError
from autoinstrument.guard import logger
from autoinstrument.mirror.mapping.hyperparameters import text_object

Item = TypeVar("Item")

REFUSED = "refused by ClearML"
"""The Task's configuration object that lists them."""
_MOST_NAMED = 1000
_HOPELESS = 16
"""Single items refused in a row, before the rest counts as refused too: the Task takes nothing."""
_AGAIN_S = (1.0, 2.0, 4.0)
"""Pauses before an item that meets an internal error is tried again."""


class Rejections:
    """The data of one run that the server has refused."""

    def __init__(self, run_id: str, confirm_well: Callable[[float], None] | None = None) -> None:
        """`confirm_well` waits for some seconds, and raises a `ClearMLError` if the server does not work at all."""
        self._reasons: dict[str, str] = {}
        self._more = 0
        self._is_listed = True
        self._confirm_well = confirm_well
        self._run_id = run_id
        self._in_a_row = 0

    def send_each(
        self, send: Callable[[list[Item]], object], items: Sequence[Item], name: Callable[[Item], str]
    ) -> None:
        """Send items together; if they are refused, send halves, down to the single items that are at fault.

        Args:
            send: sends some of the items.
            items: what to send; nothing is done for none.
            name: returns the words for an item in a message.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        self._send(send, items, name, lambda refused, _: refused)

    def send_events(self, send: Callable[[list[dict[str, Any]]], object], events: Sequence[dict[str, Any]]) -> None:
        """Send points, plots and console lines in the same way; the server may have stored the good ones of a batch.

        Points and plots that are sent again replace themselves; console lines would be there twice.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        self._send(send, events, _event_name, not_stored)

    def leave_out(self, what: str, reason: str) -> bool:
        """Note that something is left out; return True if that was not noted before."""
        if what in self._reasons:
            return False
        self._is_listed = False
        if len(self._reasons) >= _MOST_NAMED:
            self._more += 1
            return False
        self._reasons[what] = reason
        return True

    def new_list(self) -> dict[str, str] | None:
        """Return the configuration object that lists everything refused, None if nothing is new since the last call."""
        if self._is_listed:
            return None
        self._is_listed = True
        lines = [f"{what}: {why}" for what, why in self._reasons.items()]
        return text_object(REFUSED, lines, self._more, "by the ClearML server")

    def _send(
        self,
        send: Callable[[list[Item]], object],
        items: Sequence[Item],
        name: Callable[[Item], str],
        remaining: Callable[[Sequence[Item], ClearMLError], Sequence[Item]],
    ) -> None:
        """Send items; `remaining` returns those of a refused batch that may be sent again."""
        if not items:
            return
        try:
            send(list(items))
        except (RefusedError, InternalError) as error:
            if isinstance(error, RefusedError) and error.is_gone:
                raise
            if isinstance(error, InternalError) and self._confirm_well is not None:
                self._confirm_well(0.0)  # a server that is away is not asked again for each half
            again = remaining(items, error)
            if (len(again) == 1 and len(items) == 1) or self._in_a_row >= _HOPELESS:
                if refusal := self._persisting(send, again, error):
                    self._note_all([name(item) for item in again], refusal)
            elif len(again) < len(items):
                self._send(send, again, name, remaining)
            else:
                middle = len(again) // 2
                self._send(send, again[:middle], name, remaining)
                self._send(send, again[middle:], name, remaining)
        else:
            self._in_a_row = 0

    def _persisting(
        self, send: Callable[[list[Item]], object], items: Sequence[Item], error: RefusedError | InternalError
    ) -> ClearMLError | None:
        """Return why items are refused; None if the server was at fault and has taken them by now.

        Raises:
            ClearMLError: the server is not well, so that nothing is known of the items.
        """
        if isinstance(error, RefusedError):
            return error
        if self._confirm_well is None:
            raise error
        found: ClearMLError = error
        for pause_s in _AGAIN_S[:1] if self._in_a_row else _AGAIN_S:
            self._confirm_well(pause_s)
            try:
                send(list(items))
            except (RefusedError, InternalError) as again:
                found = again
            else:
                return None
        self._confirm_well(0.0)
        return found

    def _note_all(self, names: Sequence[str], error: ClearMLError) -> None:
        self._in_a_row += len(names)
        for what in names:
            if self.leave_out(what, str(error)):
                logger().warning("run %s: ClearML refuses %s, which is left out: %s", self._run_id, what, error)


def not_stored(events: Sequence[dict[str, Any]], error: ClearMLError) -> Sequence[dict[str, Any]]:
    """Return the events of a refused batch that may be sent again: console lines would be there twice."""
    if isinstance(error, RefusedError) and error.is_partly_stored:
        return [event for event in events if event["type"] != "log"]
    return events


def _event_name(event: dict[str, Any]) -> str:
    if event["type"] == "log":
        return "console lines"
    return f"the point {event.get('metric', '')[:100]}/{event.get('variant', '')[:100]} at {event.get('iter', 0)}"
