"""What can go wrong with an MLflow store: the agent's own errors, MLflow's errors sorted, and both for a person."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.scrubber import hide_in_text, without_credentials

Value = TypeVar("Value")

_VARIABLE = "MLFLOW_TRACKING_URI"
_MAY_PASS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's codes of errors after which another try may succeed."""


class StoreNotThereError(Exception):
    """A store does not exist any more or yet, or the training has not opened it; the text is one line for a person."""


class NoStoreError(StoreNotThereError):
    """MLflow would create or migrate a store if it opened it; the text is one line for a person, with the remedy.

    Attributes:
        problem: what is wrong with the store, without its address.
        remedy: what to do, in the imperative.
        is_new: the store does not exist yet; False for one of an older MLflow.
    """

    def __init__(self, tracking_uri: str, problem: str, remedy: str = "", *, is_new: bool = True) -> None:
        self.problem, self.is_new = problem, is_new
        self.remedy = remedy or f"{'check' if os.environ.get(_VARIABLE) else 'set'} {_VARIABLE}"
        super().__init__(f"MLflow store {shown(tracking_uri)} {problem}: {self.remedy}")


class NotFoundError(LookupError):
    """The store has no such run or experiment; the text is one line for a person."""


def shown(tracking_uri: str) -> str:
    """Return a store's address for a person, without credentials; MLflow's default is named as such.

    The workspace that the environment names is part of it.
    """
    address = without_credentials(absolute(tracking_uri))
    if workspace := os.environ.get("MLFLOW_WORKSPACE", "").strip():
        address = f"{address}, workspace {workspace}"
    return address if os.environ.get(_VARIABLE) else f"{address} (MLflow's default: {_VARIABLE} is not set)"


def problem_of(error: Exception) -> str:
    """Return one line for a person about an error of a store, without passwords in addresses."""
    if isinstance(error, (NotFoundError, StoreNotThereError)):
        return str(error)
    return f"MLflow: {type(error).__name__}: {hide_in_text(' '.join(str(error).split()))[:300]}"


def if_supported(ask: Callable[[], list[Value]]) -> list[Value]:
    """Return what `ask` returns, or [] if the store cannot answer it: an older server, another vendor's registry.

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
