"""Read one run back from the MLflow store, in the records of the live feed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from autoinstrument.guard import logger, own_calls
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.mlflow_store.datasets import read_inputs
from autoinstrument.mlflow_store.found_run import FoundRun
from autoinstrument.mlflow_store.input_models import read_input_models
from autoinstrument.mlflow_store.metric_history import History, read_pages
from autoinstrument.mlflow_store.models import read_models
from autoinstrument.mlflow_store.prompts import read_prompts
from autoinstrument.mlflow_store.runs import StoredRun, stored_run
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.mlflow_store.traces import read_traces
from autoinstrument.mlflow_store.workspaces import each_in_workspace, in_workspace
from autoinstrument.records import ArtifactLogged, Point, Record, RunEnded, RunStarted

STATES: dict[str, Callable[..., Record]] = {
    "models": read_models,
    "inputs": lambda client, run: read_inputs(run),
    "input models": read_input_models,
    "prompts": read_prompts,
    "traces": read_traces,
}
"""Data that is read from the store as a whole; all but traces also by the live feed, after each change."""


def read_state(tracking_uri: str, workspace: str, run_id: str, kind: str, *seen: Any) -> Record:
    """Return one of a run's `STATES`, given also what this process has `seen` of it, for a kind that takes it.

    Raises:
        mlflow.exceptions.MlflowException: there is no such run, or the store does not answer.
    """
    with own_calls():
        client = StoreClient(tracking_uri, workspace)
        with store_access(tracking_uri, workspace):
            run = client.tracking.get_run(run_id)
        with in_workspace(workspace):
            return STATES[kind](client, run, *seen)


class RunReader:
    """One run of a store, as one request has found it, and the way to its other data.

    Every method raises what the store's driver raises if the store does not answer.

    Attributes:
        stored: the run without histories, files, models, data sets and traces.
        run_id: its id.
    """

    def __init__(self, client: StoreClient, stored: StoredRun, run: Any = None) -> None:
        self.stored, self.run_id = stored, stored.run.run_id
        self._client = client
        self._entity = run

    @property
    def _run(self) -> Any:
        """MLflow's run (`mlflow.entities.Run`), which is read when it is needed; within `own_calls`."""
        if self._entity is None:
            self._entity = self._client.tracking.get_run(self.run_id)
        return self._entity

    @property
    def run(self) -> RunStarted:
        """The run, as a process sees it that did not begin it."""
        return self.stored.run._replace(owned=False)

    def histories(self) -> Iterator[History]:
        """Yield the history of each metric, none of it read yet."""
        for key in self.stored.metrics:
            yield History(self.run_id, key, functools.partial(self._pages, key))

    def _pages(self, key: str) -> Iterator[list[Point]]:
        pages = read_pages(self._client.tracking.store, self.run_id, key)
        return each_in_workspace(self._client.workspace, pages)

    def files(self) -> Iterator[ArtifactLogged]:
        """Yield each file that the artifact store lists; nothing, and a warning, if the store cannot be read."""
        run = self.run
        try:
            for file in ArtifactStore(run).files():
                yield ArtifactLogged(self.run_id, file.path, file.size, file.time_ms, None)
        except Exception as error:  # it raises what its driver raises, an ImportError too
            logger().warning("run %s: artifacts cannot be listed (%s: %s)", run.run_name, type(error).__name__, error)

    def state(self, kind: str) -> Record:
        """Return one of the run's `STATES`."""
        with own_calls(), in_workspace(self._client.workspace):
            return STATES[kind](self._client, self._run)

    def end(self) -> RunEnded | None:
        """Return the run's end, None while it is running."""
        if not self.stored.has_ended:
            return None
        return RunEnded(self.run_id, self.stored.status, int(self._run.info.end_time or 0), "", False)


def open_run(
    tracking_uri: str, run_id: str, *, workspace: str = "", experiment_name: str = "", found: FoundRun | None = None
) -> RunReader:
    """Return the reader of a run; the store is asked for the experiment's name if it is not given.

    It is not asked again for what was `found` a moment ago.

    Raises:
        mlflow.exceptions.MlflowException: there is no such run, or the store does not answer.
    """
    with own_calls(), in_workspace(workspace):
        known = found if found is not None and found.is_fresh else None
        client = StoreClient(tracking_uri, workspace, known.lacks if known else frozenset())
        run = (known and known.run) or client.tracking.get_run(run_id)
        experiment_name = experiment_name or client.tracking.get_experiment(run.info.experiment_id).name
        return RunReader(client, stored_run(run, tracking_uri, workspace, experiment_name), run)


def reader_of(stored: StoredRun) -> RunReader:
    """Return the reader of a run that a search has just found, and that goes on.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    with own_calls():
        return RunReader(StoreClient(stored.run.tracking_uri, stored.run.workspace), stored)
