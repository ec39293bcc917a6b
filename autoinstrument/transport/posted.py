"""What is posted to the outbox: records, and what makes them on the sending thread."""

from __future__ import annotations

from collections.abc import Callable

from autoinstrument.records import Record

Item = Record | Callable[[], Record | None]
"""A record, or what makes one: work that the training thread must not wait for is done on the sending thread."""


class DeferredFile:
    """What makes a record that holds the content of a file."""

    def __init__(self, content: bytes, make: Callable[[bytes], Record]) -> None:
        self.content = content
        self._make = make

    def __call__(self) -> Record:
        return self._make(self.content)


class DeferredStart:
    """What makes the record of a run that has begun; done also where there is no worker: the run is recorded by it."""

    def __init__(self, make: Callable[[], Record | None]) -> None:
        self._make = make

    def __call__(self) -> Record | None:
        return self._make()
