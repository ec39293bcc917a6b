"""Records that are made on the sending thread, because making them takes longer than the training thread may wait."""

from __future__ import annotations

from collections.abc import Callable

from autoinstrument.records import Record

Item = Record | Callable[[], Record | None]
"""A record, or a function that makes one, or none, on the sending thread."""


class DeferredFile:
    """A record that carries the content of a file.

    Attributes:
        content: the bytes that were read of the file.
    """

    def __init__(self, content: bytes, make: Callable[[bytes], Record]) -> None:
        """`make` returns the record for the content."""
        self.content = content
        self._make = make

    def __call__(self) -> Record:
        return self._make(self.content)


class DeferredStart:
    """The record of a run that has begun; it is made without a worker too, because making it records the run on disk.

    `make` returns None for a run that has no Task.
    """

    def __init__(self, make: Callable[[], Record | None]) -> None:
        self._make = make

    def __call__(self) -> Record | None:
        return self._make()
