"""What the server refuses for good keeps nothing else from being delivered: it is found, left out, and named.

A refusal is an answer that says so, or an internal error that one item meets each time while the server is well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from autoinstrument.clearml_api.errors import ClearMLError, InternalError, RefusedError
from autoinstrument.guard import logger

Item = TypeVar("Item")

_MOST_NAMED = 1000
_HOPELESS = 16
"""Single items refused one after the other, before the rest is taken for refused too: a Task that takes none."""
_AGAIN_S = (1.0, 2.0, 4.0)
"""Pauses before an item that meets an internal error is tried again."""


class Rejections:
    """What the server has refused of one run.

    Attributes:
        reasons: what was refused to why, the first thousand.
        more: how many others there were.
        noted: the Task says so.
    """

    def __init__(self, run_id: str, confirm_well: Callable[[float], None] | None = None) -> None:
        """`confirm_well` waits some seconds and raises a `ClearMLError` where the server does not work at all."""
        self.reasons: dict[str, str] = {}
        self.more = 0
        self.noted = True
        self._confirm_well = confirm_well
        self._run_id = run_id
        self._in_a_row = 0

    def send_each(self, send: Callable[[list[Item]], None], items: Sequence[Item], name: Callable[[Item], str]) -> None:
        """Send items together; where they are refused, by halves, down to the ones that are to blame.

        Args:
            send: sends some of the items.
            items: what is to be sent; nothing is done for none.
            name: what an item is called.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        if not items:
            return
        try:
            send(list(items))
        except (RefusedError, InternalError) as error:
            if isinstance(error, RefusedError) and error.is_gone:
                raise
            if len(items) == 1 or self._in_a_row >= _HOPELESS:
                if refusal := self._persisting(send, items, error):
                    self._note_all([name(item) for item in items], refusal)
                return
            middle = len(items) // 2
            self.send_each(send, items[:middle], name)
            self.send_each(send, items[middle:], name)
        else:
            self._in_a_row = 0

    def send_events(self, send: Callable[[list[dict[str, Any]]], None], events: Sequence[dict[str, Any]]) -> None:
        """Send points, plots and console lines in the same way; of a batch the server may have stored the good ones.

        Points and plots that are sent again replace themselves; console lines would be there twice.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        if not events:
            return
        try:
            send(list(events))
        except (RefusedError, InternalError) as error:
            is_partly_stored = isinstance(error, RefusedError) and error.is_partly_stored
            if isinstance(error, RefusedError) and error.is_gone:
                raise
            again = [event for event in events if not (is_partly_stored and event["type"] == "log")]
            if (len(again) == 1 and len(events) == 1) or self._in_a_row >= _HOPELESS:
                if refusal := self._persisting(send, again, error):
                    self._note_all([_event(event) for event in again], refusal)
            elif len(again) == len(events):
                middle = len(again) // 2
                self.send_events(send, again[:middle])
                self.send_events(send, again[middle:])
            else:
                self.send_events(send, again)
        else:
            self._in_a_row = 0

    def _persisting(
        self, send: Callable[[list[Item]], None], items: Sequence[Item], error: RefusedError | InternalError
    ) -> ClearMLError | None:
        """Return why items are refused, None where it was the server's fault, which has passed: they are sent then.

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

    def _note_all(self, items: Sequence[str], error: ClearMLError) -> None:
        self._in_a_row += len(items)
        for what in items:
            self._note(what, error)

    def _note(self, what: str, error: ClearMLError) -> None:
        if self.leave_out(what, str(error)):
            logger().warning("run %s: ClearML refuses %s, which is left out: %s", self._run_id, what, error)

    def leave_out(self, what: str, reason: str) -> bool:
        """Note that something is left out; return True if that was not noted before."""
        if what in self.reasons:
            return False
        self.noted = False
        if len(self.reasons) >= _MOST_NAMED:
            self.more += 1
            return False
        self.reasons[what] = reason
        return True


def _event(event: dict[str, Any]) -> str:
    if event["type"] == "log":
        return "console lines"
    return f"the point {event.get('metric', '')[:100]}/{event.get('variant', '')[:100]} at {event.get('iter', 0)}"
