"""The sync feed: read a run back from the MLflow store, in the records of the live feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from autoinstrument.from_mlflow.access import store_access
from autoinstrument.from_mlflow.artifact_store import ArtifactStore
from autoinstrument.from_mlflow.inputs import read_inputs, read_traces
from autoinstrument.from_mlflow.models import read_models
from autoinstrument.from_mlflow.runs import describe
from autoinstrument.guard import logger, ourselves
from autoinstrument.records import (
    ArtifactLogged,
    MetricsLogged,
    ParamsLogged,
    Record,
    RunEnded,
    RunStarted,
    TagsSet,
)

_ENDED = ("FINISHED", "FAILED", "KILLED")

STATES: dict[str, Callable[[Any, Any], Record]] = {
    "models": read_models,
    "inputs": lambda client, run: read_inputs(run),
    "traces": read_traces,
}
"""What is read from the store as a whole, by the live feed after each change."""


def read_state(tracking_uri: str, run_id: str, kind: str) -> Record:
    """Return one of a run's `STATES`.

    Raises:
        mlflow.exceptions.MlflowException: there is no such run, or the store does not answer.
    """
    from mlflow.tracking import MlflowClient

    with ourselves():
        client: Any = MlflowClient(tracking_uri=tracking_uri)
        with store_access():
            run = client.get_run(run_id)
        return STATES[kind](client, run)


def read_run(tracking_uri: str, run_id: str, *, artifacts: bool = True) -> tuple[RunStarted, Iterator[Record]]:
    """Return a run of the store, and its data.

    That is params, tags, each metric's whole history, `artifacts` without their content, and its end if it has ended.

    Raises:
        mlflow.exceptions.MlflowException: there is no such run, or the store does not answer.
    """
    from mlflow.tracking import MlflowClient

    with ourselves():
        client: Any = MlflowClient(tracking_uri=tracking_uri)
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
    started = describe(run, tracking_uri, experiment_name=experiment.name, resumed=True, owned=False)

    def data() -> Iterator[Record]:
        if run.data.params:
            yield ParamsLogged(run_id, [(key, value, "") for key, value in run.data.params.items()])
        yield TagsSet(run_id, dict(run.data.tags))
        for key in run.data.metrics:
            with ourselves():
                history = client.get_metric_history(run_id, key)
            yield MetricsLogged(run_id, [(key, float(m.value), int(m.timestamp), int(m.step)) for m in history])
        if artifacts:
            yield from _artifacts(started)
        for read in STATES.values():
            with ourselves():
                state = read(client, run)
            yield state
        if run.info.status in _ENDED:
            yield RunEnded(run_id, run.info.status, int(run.info.end_time or 0), "", False)

    return started, data()


def _artifacts(run: RunStarted) -> Iterator[Record]:
    """Yield what the artifact store lists; where it cannot be read, the run has to do without."""
    try:
        for file in ArtifactStore(run).files():
            yield ArtifactLogged(run.run_id, file.path, file.size, file.time_ms, None)
    except Exception as error:  # it raises what its driver raises, an ImportError too
        logger().warning("run %s: artifacts cannot be listed (%s: %s)", run.run_name, type(error).__name__, error)
