"""Tell what a store cannot do from what it did not do this time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

_MAY_PASS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


def if_supported(ask: Callable[[], list[Value]]) -> list[Value]:
    """Return what the store answers; nothing where it has no such thing (an older server, another vendor's registry).

    Raises:
        mlflow.exceptions.MlflowException: it may answer another time.
    """
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except NotImplementedError:
        return []
    except MlflowException as error:
        if error.error_code in _MAY_PASS:
            raise
        return []
