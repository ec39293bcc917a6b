"""MLflow as the worker asks it: each call has a limit in time, and a store that fails is left alone for a while.

MLflow's own client tries for minutes where its server is gone, and opening a database that does not answer takes as
long (mlflow 2.16 to 3.17). What could not be written stays in the capture, for `sync`.
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
from autoinstrument.mlflow_store.internals import import_clients

LIMIT_S = 30.0
"""For one call in all, as for a request to ClearML."""
_TICK_S = 0.25
_T = TypeVar("_T")


class MLflowAccess:
    """The way to MLflow's stores, as all runs of a worker share it."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """`meanwhile` is called some times a second while a store is asked."""
        self._meanwhile = meanwhile
        self._limit = Deadline("autoinstrument-mlflow")
        self._stores: defaultdict[str, Backoff] = defaultdict(Backoff)
        self._errors: dict[str, Exception] = {}

    def is_due(self, tracking_uri: str) -> bool:
        """Return True if the store may be asked now."""
        return self._stores[tracking_uri].is_due()

    def has_hope(self, tracking_uri: str) -> bool:
        """Return False where waiting some seconds longer will hardly help."""
        return self._stores[tracking_uri].has_hope()

    def ask(self, tracking_uri: str, work: Callable[[], _T]) -> _T:
        """Return what `work`, which calls MLflow's client, returns.

        Raises:
            OverdueError: no answer in time.
            Exception: MLflow's store raises what its driver raises. A store that failed a moment ago is not asked, and
                the error is the one of then.
        """
        store = self._stores[tracking_uri]
        if not store.is_due():
            raise self._errors[tracking_uri]
        began = time.monotonic()
        try:
            answer: _T = self._limit.do(work, LIMIT_S, tick_s=_TICK_S, tick=self._meanwhile)
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
            self._limit.do(lambda: import_clients(tracking_uri), LIMIT_S, tick_s=_TICK_S, tick=self._meanwhile)
