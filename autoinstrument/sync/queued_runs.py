"""End runs that MLflow calls SCHEDULED because they wait for a Task, if that Task will not run any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.mlflow_store.link_tags import TASK_ID, end_scheduled
from autoinstrument.mlflow_store.runs import StoredRun

BACKEND_TAG, BACKEND = "mlflow.project.backend", "clearml"
"""MLflow's tag of a project's run (2.16 to 3.17), and its value for the backend of this package."""
_ENDS = {
    "completed": "FINISHED",
    "published": "FINISHED",
    "closed": "FINISHED",
    "failed": "FAILED",
    "stopped": "KILLED",
}


def end_of(stored: StoredRun, task: Mapping[str, Any]) -> str:
    """Return the status with which a run must end in MLflow that waits for its Task, "" for any other run.

    Args:
        stored: the run.
        task: its Task, empty if that was deleted or reset.
    """
    tags = stored.run.tags
    if stored.status != "SCHEDULED" or tags.get(BACKEND_TAG) != BACKEND or not tags.get(TASK_ID):
        return ""
    return _ENDS.get(str(task.get("status")), "") if task else "KILLED"


def ended(stored: StoredRun, task: Mapping[str, Any]) -> StoredRun:
    """End a run in MLflow if it waits for a Task that has ended without running it; return the run as it is then.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    status = end_of(stored, task)
    if not status:
        return stored
    end_scheduled(stored.run.tracking_uri, stored.run.workspace, stored.run.run_id, status)
    return stored._replace(status=status)
