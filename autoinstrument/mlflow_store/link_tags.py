"""Write back to a run in MLflow: its link tags, and that it was killed. Not called on the training thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.guard import own_calls
from autoinstrument.mlflow_store.note_link import NOTE, with_link
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import says_gone
from autoinstrument.mlflow_store.stores import tracking_client

TASK_ID, TASK_URL, STATE = "clearml.task_id", "clearml.task_url", "clearml.state"
LINK_TAGS = (TASK_ID, TASK_URL, STATE)
LIVE, PENDING, FOLLOWED, SYNCED = "live", "pending", "followed", "synced"
"""Values of `STATE`: an agent mirrors the run; an agent has recorded it; a follower mirrors it, because there is no
agent; its Task is complete."""


def is_linked(tags: Mapping[str, str]) -> bool:
    """Return True if a run's tags have a link: it has a Task, or is recorded for one."""
    return not tags.keys().isdisjoint(LINK_TAGS)


def set_tags(tracking_uri: str, workspace: str, run_id: str, tags: dict[str, str], note: bool = False) -> None:
    """Set tags of a run in one call; nothing happens if the run was deleted meanwhile.

    With `note`, the run's description has a line with the Task's address then, if that is among the tags.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    from mlflow.entities import RunTag
    from mlflow.exceptions import MlflowException

    with own_calls(), store_access(tracking_uri, workspace):
        client = tracking_client(tracking_uri)
        if note and tags.get(TASK_URL) and (run := _found(client, run_id)) is not None:
            held = run.data.tags.get(NOTE, "")
            if (noted := with_link(held, tags[TASK_URL])) != held:
                tags = {**tags, NOTE: noted}
        try:
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        except MlflowException:
            if _found(client, run_id) is not None:
                raise


def remove_tag(tracking_uri: str, workspace: str, run_id: str, name: str) -> None:
    """Remove a tag of a run, if the run has it and was not deleted.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    with own_calls(), store_access(tracking_uri, workspace):
        client = tracking_client(tracking_uri)
        run = _found(client, run_id)
        if run is not None and name in run.data.tags:
            client.delete_tag(run_id, name)


def set_missing_tag(tracking_uri: str, workspace: str, run_id: str, name: str, value: str) -> None:
    """Set a tag of a run that has no such tag, and was not deleted.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    with own_calls(), store_access(tracking_uri, workspace):
        client = tracking_client(tracking_uri)
        run = _found(client, run_id)
        if run is not None and name not in run.data.tags:
            client.set_tag(run_id, name, value)


def followed(task: tuple[str, str]) -> dict[str, str]:
    """Return the link tags of a run that a follower mirrors, given id and address of its Task."""
    return dict(zip(LINK_TAGS, (*task, FOLLOWED), strict=True))


def set_followed(tracking_uri: str, workspace: str, run_id: str, task: tuple[str, str], *, note: bool) -> None:
    """Link a run that goes on without an agent to its Task; not a run that an agent has linked meanwhile.

    Args:
        tracking_uri: address of its store.
        workspace: its workspace, "" where none is named.
        run_id: MLflow's id.
        task: id and address of its Task.
        note: see `set_tags`.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    wanted = followed(task)
    with own_calls(), store_access(tracking_uri, workspace):
        run = _found(tracking_client(tracking_uri), run_id)
        if run is None or run.data.tags.get(STATE) in (LIVE, PENDING) or wanted.items() <= run.data.tags.items():
            return
    set_tags(tracking_uri, workspace, run_id, wanted, note=note)


def set_killed(tracking_uri: str, workspace: str, run_id: str, end_time_ms: int | None = None) -> None:
    """Set a run to KILLED that is still open and not deleted: its process was ended from outside.

    Args:
        tracking_uri: address of its store.
        workspace: its workspace, "" where none is named.
        run_id: MLflow's id.
        end_time_ms: when it ended, in ms since the epoch; None for now.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    with own_calls(), store_access(tracking_uri, workspace):
        if (client := _client_if(tracking_uri, run_id, "RUNNING")) is not None:
            client.set_terminated(run_id, "KILLED", end_time_ms)


def is_running(tracking_uri: str, workspace: str, run_id: str) -> bool:
    """Return True if MLflow calls a run RUNNING that was not deleted.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    with own_calls(), store_access(tracking_uri, workspace):
        return _client_if(tracking_uri, run_id, "RUNNING") is not None


def set_running(tracking_uri: str, workspace: str, run_id: str) -> None:
    """Set a run to RUNNING again that was set to KILLED because its process was silent, and that goes on after all.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    with own_calls(), store_access(tracking_uri, workspace):
        if (client := _client_if(tracking_uri, run_id, "KILLED")) is not None:
            client.update_run(run_id, status="RUNNING")


def end_scheduled(tracking_uri: str, workspace: str, run_id: str, status: str) -> None:
    """End a run that is still SCHEDULED and not deleted.

    Raises:
        mlflow.exceptions.MlflowException: the store refuses, or does not answer.
    """
    with own_calls(), store_access(tracking_uri, workspace):
        if (client := _client_if(tracking_uri, run_id, "SCHEDULED")) is not None:
            client.set_terminated(run_id, status)


def _client_if(tracking_uri: str, run_id: str, status: str) -> Any:
    """Return the client of a store that has a run with this status, which was not deleted; else None."""
    client = tracking_client(tracking_uri)
    run = _found(client, run_id)
    return client if run is not None and run.info.status == status else None


def _found(client: Any, run_id: str) -> Any:
    """Return a run that can be written to, None if it was deleted, temporarily or permanently, or never was one."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if says_gone(error, run_id):
            return None
        raise
    return None if run.info.lifecycle_stage == "deleted" else run
