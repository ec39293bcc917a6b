"""The outcome of a run for which something failed: the reason for a person, and the kind of the error."""

from __future__ import annotations

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    FilesUnavailableError,
    NotAllowedError,
    RefusedError,
    TooLargeError,
)
from autoinstrument.mlflow_store.store_errors import problem_of
from autoinstrument.sync.job_processes import JobProcessError
from autoinstrument.sync.selection import Outcome

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (NotAllowedError, "clearml_credentials"),
    (FilesUnavailableError, "clearml_files"),
    (TooLargeError, "clearml_too_large"),
    (RefusedError, "clearml_refused"),
    (ClearMLError, "clearml_unavailable"),
    (JobProcessError, "process"),
    (ImportError, "installation"),
)
OTHER = "mlflow"
KINDS = (*(kind for _, kind in _KINDS), OTHER)
"""All kinds of errors; `mlflow` is any error of MLflow's store, which raises what its driver raises."""


def failed(run_id: str, run_name: str, error: Exception) -> Outcome:
    """Return the outcome of a run, "" for none, that failed with an error."""
    kind = next((kind for of, kind in _KINDS if isinstance(error, of)), OTHER)
    text = problem_of(error) if kind == OTHER else str(error)
    return Outcome(run_id, run_name, "failed", text, kind)
