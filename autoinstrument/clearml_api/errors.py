"""What can go wrong with a ClearML server, in the three kinds that call for different action."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


class ClearMLError(Exception):
    """A call to the ClearML server did not succeed; the text is one line for a person."""


class UnavailableError(ClearMLError):
    """It may succeed later: no connection, time-out, 429, 5xx.

    Attributes:
        retry_after_s: how long the server asked to be left alone, 0 where it did not.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreachableError(UnavailableError):
    """Nothing listens at the server's address, or it has none: trying again in some seconds will hardly help."""


class FilesUnavailableError(UnavailableError):
    """The same of the place for files alone: the Task itself has everything else."""


class TooLargeError(UnavailableError):
    """The server's answer is larger than any that is read; others may be readable, and what was asked may be done."""


class InternalError(UnavailableError):
    """The server failed at this very request (an exception in its own code), maybe because of what is in it.

    The request is at fault if the server takes others meanwhile: the caller tries less of it (`mirror.rejections`).
    """


class NotAllowedError(ClearMLError):
    """It will not succeed until somebody changes the configuration: no credentials, wrong credentials."""


class RefusedError(ClearMLError):
    """The server refuses this very request for good (validation, status rules, what its database cannot store).

    Attributes:
        code: result code and subcode of the answer, as in (400, 110).
    """

    def __init__(self, message: str, code: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_partly_stored(self) -> bool:
        """True where the server has stored the good events of the batch (API 2.34)."""
        return self.code == (500, 100)

    @property
    def is_gone(self) -> bool:
        """True where the Task itself is what is missing; of events the text alone tells (API 2.34)."""
        return self.code == (400, 101) or (self.code == (400, 131) and "Invalid task id" in str(self))


_NOT_UNDERSTOOD = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def understood(owner: _Class) -> _Class:
    """Class decorator: an answer of another form than the methods expect is an error of the server's like others.

    What comes from a server is data. Without this a proxy's or another version's answer would be taken for an error of
    our own, and the run would never be said to be pending.
    """
    for name, method in list(vars(owner).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(owner, name, _checked(method))
    return owner


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    def problem(error: Exception) -> UnavailableError:
        text = f"{method.__qualname__}: the server's answer is not understood ({type(error).__name__}: {error})"
        return UnavailableError(text[:300])

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except _NOT_UNDERSTOOD as error:
            raise problem(error) from error

    @functools.wraps(method)
    def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from method(*args, **kwargs)
        except _NOT_UNDERSTOOD as error:
            raise problem(error) from error

    return iterate if inspect.isgeneratorfunction(method) else call
