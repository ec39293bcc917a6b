"""Runs for which something failed: their outcomes, and when no further one is tried."""

from __future__ import annotations

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    FilesUnavailableError,
    NotAllowedError,
    OwnError,
    RefusedError,
    TooLargeError,
    UnavailableError,
)
from autoinstrument.mlflow_store.store_errors import problem_of
from autoinstrument.sync.job_processes import JobProcessError
from autoinstrument.sync.selection import Outcome

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (NotAllowedError, "clearml_credentials"),
    (FilesUnavailableError, "clearml_files"),
    (OwnError, "autoinstrument"),
    (TooLargeError, "clearml_too_large"),
    (RefusedError, "clearml_refused"),
    (ClearMLError, "clearml_unavailable"),
    (JobProcessError, "process"),
    (ImportError, "installation"),
)
_NOT_AWAY = (FilesUnavailableError, OwnError)
_HOPELESS = 3
"""Runs in a row for which the server did not answer, before the rest is left to the next time."""
OTHER = "mlflow"
KINDS = (*(kind for _, kind in _KINDS), OTHER)
"""All kinds of errors; `mlflow` is any error of MLflow's store, which raises what its driver raises."""


def failed(run_id: str, run_name: str, error: Exception) -> Outcome:
    """Return the outcome of a run, "" for none, that failed with an error."""
    kind = next((kind for of, kind in _KINDS if isinstance(error, of)), OTHER)
    text = problem_of(error) if kind in (OTHER, "installation") else str(error)
    return Outcome(run_id, run_name, "failed", text, kind)


class GivingUp:
    """Decides when no further run is tried: ClearML has refused the credentials, or not answered for some runs.

    Attributes:
        reason: why, for the outcomes of the runs that are left; "" while runs are tried.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._in_a_row = 0

    def succeeded(self) -> None:
        """Note that ClearML has answered."""
        self._in_a_row = 0

    def give_up(self, reason: str) -> None:
        """Try no further run."""
        self.reason = reason

    def failed(self, error: ClearMLError) -> None:
        """Note the error of a run; an own one does not count, nor missing storage for files: all else is delivered."""
        self._in_a_row += isinstance(error, UnavailableError) and not isinstance(error, _NOT_AWAY)
        if isinstance(error, NotAllowedError) or self._in_a_row >= _HOPELESS:
            self.reason = str(error)
