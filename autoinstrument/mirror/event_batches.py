"""Points and console lines of a run on their way to the Task, together where they fit into one request."""

from __future__ import annotations

from typing import Any, Protocol

from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.rejections import Rejections

MAX_EVENTS = 2000
"""Events in one request."""


class EventSource(Protocol):
    """A part whose data are events."""

    @property
    def has_events(self) -> bool:
        """True while events wait."""

    def next_events(self, task: Task, count: int) -> list[dict[str, Any]]:
        """Return the events to send next, `count` at most."""

    def events_sent(self) -> None:
        """Note that the Task has the events that `next_events` returned last."""


class EventBatches:
    """Sends the events of all sources, in the order in which these were added."""

    def __init__(self, tasks: Tasks, rejections: Rejections) -> None:
        self._tasks = tasks
        self._rejections = rejections
        self._sources: list[EventSource] = []

    def add(self, source: EventSource) -> None:
        """Have the events of a part sent."""
        self._sources.append(source)

    def send(self, task: Task) -> None:
        """Send all events that wait.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        while any(source.has_events for source in self._sources):
            events: list[dict[str, Any]] = []
            for source in self._sources:
                events += source.next_events(task, MAX_EVENTS - len(events))
            self.send_now(events)
            for source in self._sources:
                source.events_sent()

    def send_now(self, events: list[dict[str, Any]]) -> None:
        """Send these events; those that the server refuses are left out.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        self._rejections.send_events(self._tasks.add_events, events)
