"""The events of one Task, with the rule which event overwrites another (README, "Events")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .envelope import Doc


class EventLog(list[Doc]):
    """Events in order of arrival: log events are appended each time, others overwrite the one of the same identity."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[Any, ...], int] = {}

    def extend(self, events: Iterable[Doc]) -> None:
        """Store events one by one."""
        for event in events:
            self.add(event)

    def add(self, event: Doc) -> None:
        """Store one event."""
        if event["type"] != "log":
            identity = tuple(event.get(key) for key in ("type", "iter", "metric", "variant", "key"))
            place = self._places.setdefault(identity, len(self))
            if place < len(self):
                self[place] = event
                return
        self.append(event)
