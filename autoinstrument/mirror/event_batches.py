"""Points and console lines of a run on their way to the Task, together where they fit into one request."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.rejections import Rejections, not_stored

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
        self._attempt: Callable[[Any, Callable[[], Any]], Any] = lambda source, call: call()
        """Makes a call of a source, see `parts.Parts.attempt`."""
        self._tasks = tasks
        self._rejections = rejections
        self._sources: list[EventSource] = []

    def call_by(self, attempt: Callable[[Any, Callable[[], Any]], Any]) -> None:
        """Have calls of a source made by a function."""
        self._attempt = attempt

    def add(self, source: EventSource) -> None:
        """Send the events of a part."""
        self._sources.append(source)

    def remove(self, source: object) -> None:
        """Send no more events of a part, which may have none."""
        self._sources = [each for each in self._sources if each is not source]

    def send(self, task: Task) -> None:
        """Send all events that wait.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        while self.have_events:
            self.send_now(self.take(task, MAX_EVENTS))
            self.sent()

    @property
    def have_events(self) -> bool:
        """True while events of any source wait."""
        sources = self._sources
        return any(self._attempt(each, functools.partial(getattr, each, "has_events")) for each in sources)

    def holds_all_of(self, part: object) -> bool:
        """Return True if a part has nothing to send but events."""
        return any(source is part and source.has_events for source in self._sources)

    def take(self, task: Task, count: int) -> list[dict[str, Any]]:
        """Return the events to send next, about `count` at most; `sent` or `send_again` must follow.

        Raises:
            OwnError: a source has failed.
        """
        events: list[dict[str, Any]] = []
        for source in self._sources:
            room = max(0, count - len(events))
            events += self._attempt(source, functools.partial(source.next_events, task, room)) or ()
        return events

    def sent(self) -> None:
        """Note that the Task has the events that `take` returned last.

        Raises:
            OwnError: a source has failed.
        """
        for source in self._sources:
            self._attempt(source, source.events_sent)

    def send_again(self, events: list[dict[str, Any]], error: ClearMLError) -> None:
        """Send the events that `take` returned last by themselves: the server has refused a batch that held others.

        Args:
            events: this Task's.
            error: the server's response to the batch.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        self.send_now(list(not_stored(events, error)))
        self.sent()

    def send_now(self, events: list[dict[str, Any]]) -> None:
        """Send these events; those that the server refuses are left out.

        Raises:
            ClearMLError: the server did not answer, or the Task is gone.
        """
        self._rejections.send_events(self._tasks.add_events, events)
