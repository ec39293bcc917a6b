"""What can go wrong with an MLflow store: the agent's own errors, MLflow's errors sorted, and both for a person."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

from autoinstrument.expressions import expression
from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.scrubber import hide_in_text, without_credentials

Value = TypeVar("Value")

_VARIABLE = "MLFLOW_TRACKING_URI"
_MAY_PASS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's codes of errors after which another try may succeed."""
_REFUSED = expression(
    r"\b401 (?:Client Error|Unauthorized)|error code 401\b|UNAUTHENTICATED|ExpiredToken|InvalidAccessKeyId"
    r"|SignatureDoesNotMatch|InvalidAuthenticationInfo|Unable to locate credentials|token (?:has|is) expired",
    re.I,
)
"""In messages of requests, botocore, Azure's and Google's clients, and MLflow's own (2.16 to 3.17). Not 403, which S3
also answers for a missing file to those who may not list its folder."""


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


def refuses_credentials(error: Exception) -> bool:
    """Return True if a server or an artifact store did not accept who was asking: a token has expired, for example."""
    return _REFUSED.search(str(error)) is not None


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
