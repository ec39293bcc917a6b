"""Errors of an MLflow store: the agent's own, MLflow's by their meaning, and the text of both for a person."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.scrubber import hide_in_text, without_credentials

Value = TypeVar("Value")

_VARIABLE = "MLFLOW_TRACKING_URI"
NO_SERVER = "Check MLFLOW_TRACKING_URI, and that the server runs."
OTHER_SERVER = "Check MLFLOW_TRACKING_URI: its port and its path must be those of an MLflow tracking server."
NO_CREDENTIALS = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as the training has them."
)
_NO_TRUST = (
    "Set MLFLOW_TRACKING_SERVER_CERT_PATH, or REQUESTS_CA_BUNDLE, to the certificate of the authority, as the training "
    "has it."
)
_DATES = "Check the date of this machine, or ask whoever runs the server for a new certificate."
_NO_CERTIFICATE = "Set MLFLOW_TRACKING_CLIENT_CERT_PATH to a file with certificate and key, as the training has it."
_PACKAGES = "Install it; `mlflow-skinny` comes without the packages for databases."
_PROXY = "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY: the address, the user and the password of the proxy."
_OF_TEXT = {
    "failed with error code 401": ("refuses the credentials (401)", NO_CREDENTIALS),
    "failed with error code 407": ("is behind a proxy that refuses the credentials (407)", _PROXY),
    "experiments/search failed with error code 404": ("is no MLflow tracking server (404)", OTHER_SERVER),
    "certificate has expired": ("has a certificate that has expired", _DATES),
    "certificate is not yet valid": ("has a certificate that is not valid yet", _DATES),
    "mismatch, certificate is not valid for": ("has a certificate of another host", OTHER_SERVER),
    "CERTIFICATE_VERIFY_FAILED": ("has a certificate that is not trusted here", _NO_TRUST),
    "alert certificate required": ("wants a certificate of the client", _NO_CERTIFICATE),
    "Caused by ProxyError": ("cannot be reached through the proxy", _PROXY),
    "not in a valid JSON format": ("is no MLflow tracking server (its answer is no JSON)", OTHER_SERVER),
    "got unsupported URI": ("is of no kind that MLflow knows", "Check MLFLOW_TRACKING_URI."),
    "failed with exception": ("cannot be reached", NO_SERVER),
}
"""By parts of the messages of MLflow's client (2.16 to 3.17), the first that fits."""
_MAY_PASS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's codes of errors after which another try may succeed."""
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes if a store has no run of an id, or takes it for none."""
_REFUSED = re.compile(
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
        address: where it would be, without credentials.
        problem: what is wrong with the store, without its address.
        remedy: what to do, in the imperative.
        is_new: the store does not exist yet; False for one of an older MLflow.
    """

    def __init__(self, tracking_uri: str, problem: str, remedy: str = "", *, is_new: bool = True) -> None:
        self.problem, self.is_new = problem, is_new
        self.address = without_credentials(absolute(tracking_uri))
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
    if isinstance(error, ImportError) and error.name == "mlflow":
        return "MLflow is not installed in this environment: use the Python of the training"
    text = hide_in_text(" ".join(str(error).split()))
    if known := explained(error):
        (problem, remedy), address = known, re.search(r"unsupported URI '([^']*)|(https?://[^/\s'\"]+)", text)
        server = without_credentials(address[1] or address[2]) if address else "the server"
        if isinstance(error, ImportError):
            server = "the store"
        return f"MLflow: {server} {problem}: {remedy[0].lower() + remedy[1:-1]}"
    return f"MLflow: {type(error).__name__}: {text[:300]}"


def is_of_store(error: Exception) -> bool:
    """Return True if an error concerns a whole store, so that it would be the same for any other run."""
    return isinstance(error, StoreNotThereError) or explained(error) is not None


def problem_of_recorded(error: Exception) -> str:
    """Return `problem_of` for a recorded run: its journal names the store, whatever MLFLOW_TRACKING_URI is here."""
    if isinstance(error, NoStoreError) and error.is_new:
        return f"the run's MLflow store {error.address} {error.problem}: it was deleted or moved, or is not mounted"
    return problem_of(error)


def explained(error: Exception) -> tuple[str, str] | None:
    """Return what is wrong with a store, and a remedy, if MLflow got no answer from one, or cannot ask it."""
    if isinstance(error, ImportError):
        return f"needs the package {error.name or error}, which is not installed in this environment", _PACKAGES
    text = " ".join(str(error).split())
    if repeated := re.search(r"too many (\d+) error responses", text):
        return f"answers with {repeated[1]}", NO_SERVER
    return next((known for part, known in _OF_TEXT.items() if part in text), None)


def says_gone(error: Exception, run_id: str) -> bool:
    """Return True if a store answers that it has no run of this id; the 404 of a proxy does not name the run."""
    return getattr(error, "error_code", "") in _NOT_THERE and run_id in str(error)


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
