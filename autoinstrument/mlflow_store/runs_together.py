"""Read many runs with four requests: each of them alone would cost as many.

Most runs have no models and no traces. That an experiment has none, or that the registry has none of these runs, is one
small answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from autoinstrument.guard import own_calls
from autoinstrument.mlflow_store import trace_internals
from autoinstrument.mlflow_store.folder_store import reads_as_a_whole
from autoinstrument.mlflow_store.found_run import LOGGED_MODELS, TRACES, VERSIONS, FoundRun
from autoinstrument.mlflow_store.models import found_versions
from autoinstrument.mlflow_store.runs import StoredRun, all_runs
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import if_supported
from autoinstrument.mlflow_store.stores import StoreClient

_LEAST = 3
"""Runs of an experiment that are worth it."""


def read_together(runs: Collection[StoredRun]) -> dict[str, FoundRun]:
    """Return what is known of runs now, by run id; nothing of those of which their experiment has few among these.

    Nothing is known either of what the store does not answer: reading that of each run reports the reason.
    """
    places: dict[tuple[str, str, str], list[str]] = {}
    for run in (stored.run for stored in runs):
        places.setdefault((run.tracking_uri, run.workspace, run.experiment_id), []).append(run.run_id)
    found: dict[str, FoundRun] = {}
    for (uri, workspace, experiment_id), run_ids in places.items():
        if len(run_ids) >= _LEAST:
            found |= _Search(uri, workspace, experiment_id, run_ids).answers()
    return found


class _Search:
    """A search for runs of one experiment."""

    def __init__(self, uri: str, workspace: str, experiment_id: str, run_ids: Sequence[str]) -> None:
        self._uri, self._workspace = uri, workspace
        self._experiment_id, self._run_ids = experiment_id, run_ids
        self._wanted = f"run_id IN ({', '.join(map(repr, run_ids))})"

    def answers(self) -> dict[str, FoundRun]:
        """Return what is known of each run."""
        asked_at_s = time.time()
        runs = {run.info.run_id: run for run in self._ask(self._runs) or ()}
        searches = {LOGGED_MODELS: self._first_model, TRACES: self._first_trace}
        lacks = frozenset(name for name, search in searches.items() if self._ask(search) == [])
        versions = self._ask(self._versions)
        with_versions = self._run_ids if versions is None else {version.run_id for version in versions}
        return {
            run_id: FoundRun(asked_at_s, runs.get(run_id), lacks if run_id in with_versions else lacks | {VERSIONS})
            for run_id in self._run_ids
        }

    def _ask(self, search: Callable[[StoreClient], list[Any]]) -> list[Any] | None:
        """Return what the store answers, None if it cannot or does not."""
        try:
            with own_calls(), store_access(self._uri, self._workspace):
                client = StoreClient(self._uri, self._workspace)
                return next(iter(if_supported(lambda: [search(client)])), None)
        except Exception:  # it raises what its driver raises
            return None

    def _runs(self, client: StoreClient) -> list[Any]:
        from mlflow.entities import ViewType

        if reads_as_a_whole(client.tracking.store):
            return []
        experiments, wanted = [self._experiment_id], f"attributes.{self._wanted}"
        return list(all_runs(client.tracking, experiments, filter_string=wanted, run_view_type=ViewType.ALL))

    def _first_model(self, client: StoreClient) -> list[Any]:
        if not hasattr(client.tracking, "search_logged_models"):  # MLflow 2
            return []
        return list(client.tracking.search_logged_models([self._experiment_id], max_results=1))

    def _first_trace(self, client: StoreClient) -> list[Any]:
        return trace_internals.first_trace(client.tracking, self._experiment_id)

    def _versions(self, client: StoreClient) -> list[Any]:
        return list(found_versions(client.registry(), self._wanted))
