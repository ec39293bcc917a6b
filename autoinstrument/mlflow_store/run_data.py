"""Read a whole run back from an MLflow store, as the records that the live mirror receives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from autoinstrument.guard import logger, ourselves
from autoinstrument.mlflow_store.artifacts import ArtifactStore
from autoinstrument.mlflow_store.datasets import read_inputs, read_traces
from autoinstrument.mlflow_store.describe import describe
from autoinstrument.mlflow_store.metric_history import History, read_pages
from autoinstrument.mlflow_store.models import read_models
from autoinstrument.mlflow_store.runs import ENDED
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.records import ArtifactLogged, ParamsLogged, Record, RunEnded, RunStarted, TagsSet

STATES: dict[str, Callable[[StoreClient, Any], Record]] = {
    "models": read_models,
    "inputs": lambda client, run: read_inputs(run),
    "traces": read_traces,
}
"""Data that are read from the store as a whole; the live mirror reads them again after each change."""


def read_state(tracking_uri: str, run_id: str, kind: str) -> Record:
    """Return one of a run's `STATES`, by its key.

    Raises:
        mlflow.exceptions.MlflowException: there is no such run, or the store does not answer.
    """
    with ourselves():
        client = StoreClient(tracking_uri)
        with store_access(tracking_uri):
            run = client.tracking.get_run(run_id)
        return STATES[kind](client, run)


def read_run(
    tracking_uri: str, run_id: str, *, experiment_name: str = "", artifacts: bool = True
) -> tuple[RunStarted, Iterator[Record | History]]:
    """Return a run, and its data: params, tags, histories, artifacts, `STATES`, and its end if it has ended.

    Args:
        tracking_uri: address of the store.
        run_id: id of the run.
        experiment_name: name of its experiment; "" to read it from the store.
        artifacts: list the artifacts, without their content.

    Raises:
        mlflow.exceptions.MlflowException: there is no such run, or the store does not answer.
    """
    with ourselves():
        client = StoreClient(tracking_uri)
        run = client.tracking.get_run(run_id)
        experiment_name = experiment_name or client.tracking.get_experiment(run.info.experiment_id).name
    started = describe(run, tracking_uri, experiment_name=experiment_name, resumed=True, owned=False)

    def data() -> Iterator[Record | History]:
        if run.data.params:
            yield ParamsLogged(run_id, [(key, value, "") for key, value in run.data.params.items()])
        yield TagsSet(run_id, dict(run.data.tags))
        for key in run.data.metrics:
            yield History(run_id, key, functools.partial(read_pages, client.tracking.store, run_id, key))
        if artifacts:
            yield from _artifacts(started)
        for read in STATES.values():
            with ourselves():
                state = read(client, run)
            yield state
        if run.info.status in ENDED:
            yield RunEnded(run_id, run.info.status, int(run.info.end_time or 0), "", False)

    return started, data()


def _artifacts(run: RunStarted) -> Iterator[Record]:
    """Yield the artifacts that the store lists; if it cannot be read, the run is read without them."""
    try:
        for file in ArtifactStore(run).files():
            yield ArtifactLogged(run.run_id, file.path, file.size, file.time_ms, None)
    except Exception as error:  # it raises what its driver raises, an ImportError too
        logger().warning("run %s: artifacts cannot be listed (%s: %s)", run.run_name, type(error).__name__, error)
