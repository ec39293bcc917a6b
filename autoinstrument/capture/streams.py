"""Look at Python's standard streams, and at the streams that a script puts in their place."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

NAMES = ("stdout", "stderr")
_MOST_HELD = 20
"""Attributes of a stream that are looked at."""


def current(name: str) -> Any:
    """Return the stream that `sys` has under a name, None where a script has deleted it."""
    return getattr(sys, name, None)


def original(name: str) -> Any:
    """Return the interpreter's own stream, None where the process has none."""
    return getattr(sys, f"__{name}__", None)


def reference(stream: Any) -> Callable[[], Any]:
    """Return a weak reference; for an object that takes none, a function that returns None."""
    try:
        return weakref.ref(stream)
    except TypeError:  # None, or an object with slots, which cannot have an instance method either
        return nothing


def nothing() -> None:
    """Stand for a reference to an object that is gone."""


def descriptor_of(stream: Any) -> int | None:
    """Return the stream's file descriptor, None where it has none or is closed."""
    try:
        descriptor = stream.fileno()
    except Exception:  # `io.UnsupportedOperation` as a rule, anything from a class of the script's
        return None
    return descriptor if isinstance(descriptor, int) else None


def is_one_of(descriptor: int, files: Iterable[int]) -> bool:
    """Return True if a descriptor leads to the same file as one of others.

    Raises:
        OSError: the descriptor is closed.
    """
    found = os.fstat(descriptor)
    for file in files:
        with contextlib.suppress(OSError):  # it is closed
            if descriptor == file or os.path.samestat(found, os.fstat(file)):
                return True
    return False


def buffer_of(stream: Any) -> Any:
    """Return the binary stream below a text stream, None where no such stream is known.

    It is the attribute `buffer` of `io.TextIOWrapper`, and `stream` of `codecs.StreamWriter`.
    """
    for name in ("buffer", "stream"):
        found = getattr(stream, name, None)
        if isinstance(found, (io.BufferedIOBase, io.RawIOBase)):
            return found
    return None


def held_by(stream: Any) -> list[Any]:
    """Return the streams that an object of another class holds, such as one that writes to a file too."""
    values = list(vars(stream).values()) if hasattr(stream, "__dict__") else []
    values += [item for value in values if isinstance(value, (list, tuple)) for item in value[:_MOST_HELD]]
    return [value for value in values[:_MOST_HELD] if callable(getattr(type(value), "write", None))]


def quietly() -> contextlib.AbstractContextManager[None]:
    """Return a context that drops what streams and shells of other classes raise: what they cannot do is left out."""
    return contextlib.suppress(Exception)
