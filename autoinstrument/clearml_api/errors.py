"""Errors of a ClearML server, in the three kinds that call for different action: wait, ask a person, leave it out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


class ClearMLError(Exception):
    """A call to the ClearML server did not succeed; the text is one line for a person."""


class UnavailableError(ClearMLError):
    """The call may succeed later: no connection, a time-out, 429, 5xx.

    Attributes:
        retry_after_s: the pause that the server asked for, in seconds; 0 if it did not.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HiccupError(UnavailableError):
    """The call may succeed within a second: another attempt is worth making at once."""


class UnreachableError(UnavailableError):
    """No ClearML server answers at the address, or the address is unknown: waiting for some seconds hardly helps."""


class FilesUnavailableError(UnavailableError):
    """The storage for files is unavailable; everything else is on the Task."""


class TooLargeError(UnavailableError):
    """The response is larger than any that is read. Others may be readable, and the request may have taken effect."""


class InternalError(UnavailableError):
    """An exception in the server's own code, or a gateway's error, which the content of the request may have caused.

    If the server takes other requests meanwhile, this one is at fault: `mirror.rejections` then sends less of it.
    """


class OwnError(UnavailableError):
    """An error of this package, or of this machine: no memory, a full disk. It may meet one run alone."""

    def __init__(self, what: str, error: Exception) -> None:
        """`what` has failed with an error."""
        super().__init__(f"{what} failed with {described(error)}")


class NotAllowedError(ClearMLError):
    """The call cannot succeed until a person changes the configuration: no credentials, or wrong ones."""


GONE = (400, 101)
"""Code of the response if there is no Task of that id."""


class RefusedError(ClearMLError):
    """The server will never take this request (validation, status rules, values that its database cannot store).

    Attributes:
        code: result code and subcode of the response, as in (400, 110). The meanings below are those of API 2.34.
    """

    def __init__(self, message: str, code: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_partly_stored(self) -> bool:
        """True if the server has stored the valid events of the batch."""
        return self.code == (500, 100)

    @property
    def is_gone(self) -> bool:
        """True if the Task itself does not exist; for events only the text says so."""
        return self.code == GONE or (self.code == (400, 131) and "Invalid task id" in str(self))

    @property
    def is_model_gone(self) -> bool:
        """True if a model does not exist; for events only the text says so."""
        return self.code == (400, 201) or (self.code == (400, 131) and "Invalid model id" in str(self))

    @property
    def is_finished(self) -> bool:
        """True if the Task's status forbids the change."""
        return self.code == (400, 110)

    @property
    def is_duplicate(self) -> bool:
        """True if there is an object of that name."""
        return self.code == (400, 801)


def described(error: Exception) -> str:
    """Return an error in one line: its type, its text, and the line of code that has raised it."""
    text, last = str(error).partition("\n")[0][:200], error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" in {PurePath(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last is not None else ""
    return f"{type(error).__name__}{place}" + (f" ({text})" if text else "")


_NOT_UNDERSTOOD = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def understood(owner: _Class) -> _Class:
    """Class decorator: a response that a public method cannot use raises `UnavailableError`, as other errors do.

    The server's responses are data. Without this, the response of a proxy or of another version would look like an
    error of this package, and the run would not become pending.
    """
    for name, method in list(vars(owner).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(owner, name, _checked(method))
    return owner


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    def problem(error: Exception) -> UnavailableError:
        text = f"{method.__qualname__}: the server's response is not understood ({type(error).__name__}: {error})"
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
