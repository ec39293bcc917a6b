"""Call MLflow from the worker: each call has a deadline, and a store that fails is not called for a while.

MLflow's own client retries for minutes if its server is gone, and opening a database that does not answer takes as long
(mlflow 2.16 to 3.17). Data that could not be written stays in the journal, for `sync`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.deadline import Deadline
from autoinstrument.clearml_api.errors import UnavailableError
from autoinstrument.guard import guard
from autoinstrument.mlflow_store import training_stores
from autoinstrument.mlflow_store.internals import import_clients

LIMIT_S = 30.0
"""Deadline of a call, the same as that of a request to ClearML."""
_LOAD_S = 120.0
"""Deadline of MLflow's import: 2 s of CPU time, of which a busy machine may give little."""
_T = TypeVar("_T")


class MLflowAccess:
    """Calls MLflow's stores for all runs of a worker, from any thread."""

    def __init__(self) -> None:
        self._limit = Deadline("autoinstrument-mlflow")
        self._stores: defaultdict[str, Backoff] = defaultdict(Backoff)
        self._errors: dict[str, Exception] = {}

    def is_due(self, tracking_uri: str) -> bool:
        """Return True if the store may be called now."""
        return self._stores[tracking_uri].is_due()

    def has_hope(self, tracking_uri: str) -> bool:
        """Return False if the store will hardly answer within seconds."""
        return self._stores[tracking_uri].has_hope()

    def ask(self, tracking_uri: str, work: Callable[[], _T]) -> _T:
        """Return what `work`, which calls MLflow's client, returns.

        MLflow is loaded before: threads that import parts of it at the same time leave it broken for the whole process
        (protobuf's "Couldn't build proto file into descriptor pool", mlflow 3.17).

        Raises:
            OverdueError: the deadline has passed.
            Exception: MLflow's store raises any exception of its driver. A store that failed a moment ago is not
                called, and its last error is raised again.
        """
        store = self._stores[tracking_uri]
        if not store.is_due():
            raise self._errors[tracking_uri].with_traceback(None)  # else it grows with each run that asks
        began = time.monotonic()
        try:
            self._load(tracking_uri)
            answer: _T = self._limit.do(work, LIMIT_S)
        except Exception as error:
            self._errors[tracking_uri] = error
            store.failed(UnavailableError(str(error)), time.monotonic() - began)
            raise
        store.succeeded()
        return answer

    def prepare(self, tracking_uri: str) -> None:
        """Load MLflow's client now: its files may be deleted as soon as the training process is gone.

        A ClearML agent deletes working directory and virtual environment for its next job (clearml-agent 3.0.3).
        """
        with guard("loading MLflow"):
            self._load(tracking_uri)

    def _load(self, tracking_uri: str) -> None:
        if not training_stores.are_watched():  # else the worker is a thread of a process that has loaded it
            self._limit.do(lambda: import_clients(tracking_uri), _LOAD_S)
