"""The links from a Task back to its run: user properties, and artifacts that are links to MLflow's pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from autoinstrument.clearml_api.tasks import ADOPTED, EXPERIMENT
from autoinstrument.clone_run.lineage import as_properties, from_properties
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.mlflow_store.describe import PARENT_RUN
from autoinstrument.mlflow_store.urls import named
from autoinstrument.records import RunStarted
from autoinstrument.scrubber import without_credentials

TAG = "mlflow"
LINK = "MLflow run"
ENDED = "mlflow_run_ended"


def properties(run: RunStarted, adopted: str = "", *, ended_ms: int = 0) -> list[dict[str, str]]:
    """Return the user properties that lead back to the run, and say when it ran.

    ClearML dates a Task by its own clock: a Task's start is the time at which the server learned of it, and the last
    one where the run was resumed.

    Args:
        run: the run.
        adopted: the id of the Task if the run has taken it over; the Task then says so, and may have its own name.
        ended_ms: when the run ended according to MLflow, 0 if it has not.
    """
    tracking_uri, workspace = store(run)
    values = {
        "mlflow_run_id": run.run_id,
        EXPERIMENT: run.experiment_name,
        "mlflow_experiment_id": run.experiment_id,
        "mlflow_tracking_uri": tracking_uri,
        "mlflow_workspace": workspace,
        "mlflow_run_url": run.run_url,
        **as_properties(run),
        "mlflow_run_started": _time(run.start_time_ms),
        ENDED: _time(ended_ms),
    }
    if run.run_name and (adopted or acceptable(run.run_name) != run.run_name):
        values["mlflow_run_name"] = run.run_name
    values[ADOPTED] = adopted
    return [hyperparameter(PROPERTIES, name, value, "str") for name, value in values.items() if value]


def origin(task: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of the lineage of a Task's run, as the Task itself keeps them.

    Args:
        task: the Task.
        tags: those that the run has; if it is nested below another run, that counts.
    """
    held = (task.get("hyperparams") or {}).get(PROPERTIES) or {}
    kept = from_properties({name: str(item.get("value") or "") for name, item in held.items()})
    return {tag: value for tag, value in kept.items() if tag != PARENT_RUN or not tags.get(tag)}


def store(run: RunStarted) -> tuple[str, str]:
    """Return the address of a run's store and its workspace as the Task's properties have them."""
    return without_credentials(run.tracking_uri), named(run.workspace)


def end_time(ended_ms: int) -> list[dict[str, str]]:
    """Return the user property that says when a run ended; an empty list if that is not known."""
    return [hyperparameter(PROPERTIES, ENDED, text, "str")] if (text := _time(ended_ms)) else []


def _time(time_ms: int) -> str:
    """Return a time in ISO 8601, "" for none; MLflow accepts any number as a time."""
    try:
        return (
            datetime.fromtimestamp(time_ms / 1000, timezone.utc).isoformat(timespec="milliseconds") if time_ms else ""
        )
    except (OverflowError, OSError, ValueError):
        return ""


def link_artifact(run: RunStarted) -> list[dict[str, Any]]:
    """Return the artifact that is a link to the run's page; the web UI makes no other field of a Task clickable."""
    if not run.run_url:
        return []
    return [page(LINK, run.run_url, run, [["MLflow run", run.run_id], ["MLflow experiment", run.experiment_name]])]


def page(key: str, url: str, run: RunStarted, shown: list[list[str]]) -> dict[str, Any]:
    """Return an artifact that is a link to a page of MLflow's; `shown` are the pairs that ClearML's page lists."""
    return {
        "key": key,
        "type": "custom",
        "mode": "output",
        "uri": url,
        "content_size": 0,
        "timestamp": run.start_time_ms // 1000,
        "type_data": {"preview": url, "content_type": "text/html"},
        "display_data": shown,
    }
