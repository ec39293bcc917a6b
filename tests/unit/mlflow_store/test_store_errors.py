"""Messages for a person about a store, and MLflow's errors that are temporary."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE

from autoinstrument.mlflow_store.store_errors import (
    NoStoreError,
    NotFoundError,
    if_supported,
    is_of_store,
    problem_of,
    problem_of_recorded,
    refuses_credentials,
    shown,
)


def raises(error: Exception) -> Any:
    def ask() -> list[Any]:
        raise error

    return ask


def test_requests_that_a_store_does_not_support_return_nothing() -> None:
    assert if_supported(lambda: [1]) == [1]
    assert if_supported(raises(NotImplementedError())) == []
    assert if_supported(raises(MlflowException("x", error_code=ENDPOINT_NOT_FOUND))) == []


@pytest.mark.parametrize("code", [INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE])
def test_a_temporary_failure_is_an_error(code: int) -> None:
    with pytest.raises(MlflowException):
        if_supported(raises(MlflowException("x", error_code=code)))


def test_one_line_without_passwords() -> None:
    assert problem_of(NotFoundError("there is no run")) == "there is no run"
    error = MlflowException("cannot reach\n  http://user:secret@host/x")
    assert problem_of(error) == "MLflow: MlflowException: cannot reach http://user:********@host/x"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "API request to http://u:p@h:9/api/2.0/x failed with exception HTTPConnectionPool(host='h', port=9)",
            "MLflow: http://h:9 cannot be reached: check MLFLOW_TRACKING_URI, and that the server runs",
        ),
        (
            "API request to endpoint /api/2.0/x failed with error code 401 != 200. Response body: 'x'",
            "MLflow: the server refuses the credentials (401): set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as the training has them",
        ),
        (
            "Model registry functionality is unavailable; got unsupported URI 'htp://u:p@h' for model registry data "
            "storage. Supported URI schemes are: [...]. See https://www.mlflow.org/docs/latest/tracking.html#storage",
            "MLflow: htp://h is of no kind that MLflow knows: check MLFLOW_TRACKING_URI",
        ),
        (
            "API request to http://h/x failed with exception (Caused by ResponseError('too many 503 error responses'))",
            "MLflow: http://h answers with 503: check MLFLOW_TRACKING_URI, and that the server runs",
        ),
        (
            "API request to https://h/x failed with exception HTTPSConnectionPool(host='h', port=443): (Caused by "
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
            "certificate has expired (_ssl.c:1006)')))",
            "MLflow: https://h has a certificate that has expired: check the date of this machine, or ask whoever "
            "runs the server for a new certificate",
        ),
    ],
)
def test_a_server_that_gives_no_answer_has_a_remedy(text: str, problem: str) -> None:
    assert problem_of(MlflowException(text)) == problem
    assert is_of_store(MlflowException(text))


def test_a_package_that_a_store_needs() -> None:
    """`mlflow-skinny` comes without SQLAlchemy."""
    error = ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")
    assert problem_of(error) == (
        "MLflow: the store needs the package sqlalchemy, which is not installed in this environment: install it; "
        "`mlflow-skinny` comes without the packages for databases"
    )
    assert problem_of(ModuleNotFoundError(name="mlflow")).startswith("MLflow is not installed in this environment")


def test_an_error_of_one_run_is_not_of_its_store() -> None:
    assert is_of_store(NoStoreError("sqlite:///x", "does not exist"))
    assert not is_of_store(NotFoundError("there is no run"))
    assert not is_of_store(MlflowException("the run is locked"))


def test_the_default_store_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://u:p@h")
    assert shown("http://u:p@h") == "http://h"
    assert str(NoStoreError("http://u:p@h", "is gone")) == "MLflow store http://h is gone: check MLFLOW_TRACKING_URI"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "MLflow's default: MLFLOW_TRACKING_URI is not set" in shown("http://u:p@h")
    assert NoStoreError("http://h", "is gone").remedy == "set MLFLOW_TRACKING_URI"


def test_a_recorded_run_names_its_store_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the variable nor MLflow's default has to do with it; an older store needs the same as for a command."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    gone = "the run's MLflow store http://h is gone: it was deleted or moved, or is not mounted"
    assert problem_of_recorded(NoStoreError("http://u:p@h", "is gone")) == gone
    old = NoStoreError("http://h", "is old", "upgrade it", is_new=False)
    assert problem_of_recorded(old) == str(old)


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("401 Client Error: Unauthorized for url: https://h/x", True),
        ("API request to endpoint /api/2.0/mlflow/runs/get failed with error code 401 != 200.", True),
        (
            "An error occurred (ExpiredToken) when calling GetObject: The provided token has expired.",
            True,
        ),
        ("An error occurred (403) when calling the HeadObject operation: Forbidden", False),  # a file that is not there
        ("An error occurred (404) when calling the HeadObject operation: Not Found", False),
        ("[Errno 2] No such file or directory: 'epoch/401/token expired.txt'", False),
    ],
)
def test_refused_credentials_are_distinguished_from_a_missing_file(text: str, is_refused: bool) -> None:
    assert refuses_credentials(Exception(text)) == is_refused
