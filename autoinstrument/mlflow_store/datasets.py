"""Read the data sets of a run, and the number of its traces, from an MLflow store."""

from __future__ import annotations

from typing import Any

from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import if_supported
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.records import Dataset, InputsLogged, TracesLogged

MOST_TRACES = 5000
"""Number of traces after which counting ends: the store has no call that counts, so that each of them is read."""
_PAGE = 500


def read_inputs(run: Any) -> InputsLogged:
    """Return the data sets of a run (`mlflow.entities.Run`), by name."""
    inputs = getattr(run, "inputs", None)
    datasets = [_dataset(logged) for logged in inputs.dataset_inputs] if inputs else []
    return InputsLogged(run.info.run_id, sorted(datasets, key=lambda dataset: (dataset["name"], dataset["digest"])))


def _dataset(logged: Any) -> Dataset:
    dataset = logged.dataset
    return Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type or "",
        source=dataset.source or "",
        schema=dataset.schema or "",
        profile=dataset.profile or "",
        tags={tag.key: tag.value for tag in sorted(logged.tags, key=lambda tag: str(tag.key))},
    )


def read_traces(client: StoreClient, run: Any) -> TracesLogged:
    """Return the number of traces of a run (`mlflow.entities.Run`).

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """

    def count() -> list[Any]:
        traces, token = 0, None
        while True:
            found, token = internals.search_traces(
                client.tracking, run.info.experiment_id, run.info.run_id, _PAGE, token
            )
            traces += found
            if not token or traces >= MOST_TRACES:
                return [traces, bool(token)]

    with store_access(client.tracking_uri, client.workspace):
        traces, more = if_supported(count) or (0, False)
    return TracesLogged(run.info.run_id, traces, more)
