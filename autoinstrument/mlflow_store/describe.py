"""Turn MLflow's run into a record. What needs the tracking store is returned as a function, for the sending thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from autoinstrument.mlflow_store.link_tags import TASK_ID, is_linked
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.urls import absolute, run_page
from autoinstrument.records import RunStarted

PARENT_RUN, RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
_KNOWN_S = 10.0
"""Seconds for which an experiment's name is kept. It may change, but reading it takes as long as starting a run."""
_experiments: dict[tuple[str, str], tuple[str, float]] = {}
"""Names of experiments by tracking URI and id, and the time until which they are kept."""


def number(value: Any) -> float:
    """Return a metric's value as MLflow stores it: a float, also for arrays and tensors of one element.

    Raises:
        TypeError, ValueError: the value is not a number.
    """
    if isinstance(value, (int, float)):
        return float(value)
    return float(value.item()) if hasattr(value, "item") else float(value)


def describe(
    run: Any, tracking_uri: str, workspace: str, *, experiment_name: str, resumed: bool, owned: bool
) -> RunStarted:
    """Return the record of a run.

    Args:
        run: MLflow's run (`mlflow.entities.Run`).
        tracking_uri: address of its store.
        workspace: its workspace, "" where none is named.
        experiment_name: name of its experiment.
        resumed: see `RunStarted`.
        owned: see `RunStarted`.
    """
    info, tags = run.info, dict(run.data.tags)
    uri = absolute(tracking_uri)
    return RunStarted(
        run_id=info.run_id,
        run_name=getattr(info, "run_name", None) or tags.get(RUN_NAME, ""),
        experiment_id=str(info.experiment_id),
        experiment_name=experiment_name,
        tracking_uri=uri,
        run_url=run_page(
            uri, str(info.experiment_id), info.run_id, os.environ.get("AUTOINSTRUMENT_MLFLOW_UI", "").strip(), workspace
        ),
        artifact_uri=absolute(getattr(info, "artifact_uri", None) or ""),
        start_time_ms=int(info.start_time or 0),
        parent_run_id=tags.get(PARENT_RUN, ""),
        tags=tags,
        resumed=resumed,
        owned=owned,
        task_id="",
        workspace=workspace,
    )


def forget_experiment(tracking_uri: str, experiment_id: str) -> None:
    """Read the name of an experiment again for the next run: this process has renamed it."""
    _experiments.pop((tracking_uri, experiment_id), None)


class Description:
    """Returns the record of a run, for which it may ask the tracking store; None for a run that is left alone.

    Attributes:
        experiment_id: id of the run's experiment, "" where the store must be asked.
        is_linked: the run existed before, and has link tags.
    """

    __slots__ = ("_make", "experiment_id", "is_linked")

    def __init__(
        self, make: Callable[[], RunStarted | None], experiment_id: str = "", *, is_linked: bool = False
    ) -> None:
        self._make, self.experiment_id, self.is_linked = make, experiment_id, is_linked

    def __call__(self) -> RunStarted | None:
        """Raise what the store's driver raises, if the store does not answer."""
        return self._make()


def started(run: Any, tracking_uri: str, workspace: str, *, resumed: bool, owned: bool) -> Description:
    """Return the description of a run that was created or resumed; it reads the experiment.

    Relative addresses are those of the working directory at present: the script may change that at any moment.
    """
    experiment_id = str(run.info.experiment_id)
    uri, artifact_uri = absolute(tracking_uri), absolute(getattr(run.info, "artifact_uri", None) or "")

    def make() -> RunStarted:
        name, until = _experiments.get((tracking_uri, experiment_id), ("", 0.0))
        if time.monotonic() >= until:
            with store_access(tracking_uri, workspace):
                name = tracking_client(tracking_uri).get_experiment(experiment_id).name
            _experiments[tracking_uri, experiment_id] = name, time.monotonic() + _KNOWN_S
        record = describe(run, uri, workspace, experiment_name=name, resumed=resumed, owned=owned)
        return record._replace(artifact_uri=artifact_uri)

    return Description(make, experiment_id, is_linked=resumed and is_linked(run.data.tags))


def seen(tracking_uri: str, workspace: str, run_id: str, *, linked: bool = False) -> Description:
    """Return the description of a run that this process did not start.

    It is None for a run that has ended without a Task, and with `linked` for every run without a Task.
    """
    uri = absolute(tracking_uri)  # now, as in `started`

    def make() -> RunStarted | None:
        with store_access(tracking_uri, workspace):
            client = tracking_client(tracking_uri)
            run = client.get_run(run_id)
            if TASK_ID not in run.data.tags and (linked or run.info.status != "RUNNING"):
                return None
            experiment = client.get_experiment(run.info.experiment_id)
        return describe(run, uri, workspace, experiment_name=experiment.name, resumed=True, owned=False)

    return Description(make)
