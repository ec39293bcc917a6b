"""Tag the best run of an optimiser, in MLflow and in ClearML: the main program of a short-lived process."""

from __future__ import annotations

from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks, is_of_run, run_of, store_of, task_from
from autoinstrument.mlflow_store.link_tags import remove_tag, set_tags
from autoinstrument.mlflow_store.store_errors import problem_of
from autoinstrument.mlflow_store.urls import with_known_credentials

BEST = "best"
"""Tag of the Task."""
BEST_OF = "clearml.best_of"
"""Tag of the run: the id of the Task of which the optimiser's jobs are children."""


def main(task_id: str) -> None:
    """Tag the run of a Task, and the Task, as the best one; exit with a message if that fails."""
    try:
        tag_best(Tasks(Session(lean=True)), task_id)
    except ClearMLError as error:
        raise SystemExit(str(error)) from None
    except Exception as error:  # MLflow's store raises what its driver raises
        raise SystemExit(problem_of(error)) from None


def tag_best(tasks: Tasks, task_id: str) -> None:
    """Tag a job of an optimiser as its best one, and untag its other jobs; do nothing for a job without an MLflow run.

    Raises:
        ClearMLError: the server does not answer.
        Exception: MLflow's store does not answer; it raises what its driver raises.
    """
    best = tasks.get(task_id)
    if not _is_of_run(best):
        return
    parent = str(best.get("parent") or "")
    for other in tasks.tagged_children(parent, BEST):
        if other["id"] != task_id:
            tasks.remove_tags(task_from(other, "", adopted=True), [BEST])
            if _is_of_run(other):
                remove_tag(*_place(other), BEST_OF)
    tasks.add_tags(task_from(best, "", adopted=True), [BEST])
    set_tags(*_place(best), {BEST_OF: parent})


def _is_of_run(task: dict[str, Any]) -> bool:
    return bool(run_of(task)) and is_of_run(task, run_of(task))


def _place(task: dict[str, Any]) -> tuple[str, str, str]:
    """Return the tracking URI of a Task's run, its workspace and its id."""
    tracking_uri, workspace = store_of(task)
    return with_known_credentials(tracking_uri), workspace, run_of(task)
