"""What the server refuses for good keeps nothing else from being delivered: it is found, left out, and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from autoinstrument.guard import logger
from autoinstrument.to_clearml.errors import RefusedError

Item = TypeVar("Item")

_MOST_NAMED = 1000
_HOPELESS = 16
"""Single items refused one after the other, before the rest is taken for refused too: a Task that takes none."""


class Refusals:
    """What the server has refused of one run.

    Attributes:
        reasons: what was refused to why, the first thousand.
        noted: the Task says so.
    """

    def __init__(self, run_id: str) -> None:
        self.reasons: dict[str, str] = {}
        self.noted = True
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
        except RefusedError as error:
            if error.is_gone:
                raise
            if len(items) == 1 or self._in_a_row >= _HOPELESS:
                self._note_all([name(item) for item in items], error)
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
        except RefusedError as error:
            if error.is_gone:
                raise
            again = [event for event in events if not (error.is_partly_stored and event["type"] == "log")]
            if (len(again) == 1 and len(events) == 1) or self._in_a_row >= _HOPELESS:
                self._note_all([_event(event) for event in again], error)
            elif len(again) == len(events):
                middle = len(again) // 2
                self.send_events(send, again[:middle])
                self.send_events(send, again[middle:])
            else:
                self.send_events(send, again)
        else:
            self._in_a_row = 0

    def _note_all(self, items: Sequence[str], error: RefusedError) -> None:
        self._in_a_row += len(items)
        for what in items:
            self._note(what, error)

    def _note(self, what: str, error: RefusedError) -> None:
        if what in self.reasons or len(self.reasons) >= _MOST_NAMED:
            return
        self.reasons[what], self.noted = str(error), False
        logger().warning("run %s: ClearML refuses %s, which is left out: %s", self._run_id, what, error)


def _event(event: dict[str, Any]) -> str:
    if event["type"] == "log":
        return "console lines"
    return f"the point {event.get('metric', '')[:100]}/{event.get('variant', '')[:100]} at {event.get('iter', 0)}"
