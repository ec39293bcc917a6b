"""Make a run's Task complete from the MLflow store, which holds everything but the capture."""

from __future__ import annotations

import itertools

from autoinstrument.from_mlflow.histories import History
from autoinstrument.from_mlflow.links import STATE, TASK_ID, TASK_URL, set_tags
from autoinstrument.from_mlflow.store import read_run
from autoinstrument.mirror import mapping
from autoinstrument.mirror.ending import End, of_run
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.records import RunEnded

_FLUSHES = 3
"""A file that cannot be read from the store is tried again that often."""


def complete(
    mirror: RunMirror,
    tracking_uri: str = "",
    *,
    end: End | None = None,
    end_if_open: End | None = None,
    deleted: bool = False,
) -> None:
    """Bring a run's Task up to what the MLflow store holds, end it, write the link tags, and drop the capture.

    Where files wait to be uploaded (`mirror.lacking`), the capture stays.

    Args:
        mirror: the run's, as far as it came.
        tracking_uri: where the run is; the capture's own if "" (there, credentials are left out on disk).
        end: what is known of the run's end; else MLflow's own status counts.
        end_if_open: its end where MLflow knows of none either: a run whose process is dead.
        deleted: the run is in MLflow's trash, where it takes no tags.

    Raises:
        mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    uri = tracking_uri or mirror.run.tracking_uri
    run, records = read_run(
        uri,
        mirror.run.run_id,
        experiment_name=mirror.run.experiment_name,
        artifacts=mirror.settings.artifacts != "off",
    )
    mirror.run = mirror.run._replace(tracking_uri=uri, artifact_uri=run.artifact_uri)
    by_curve = dict[tuple[str, str], list[History]]()
    for record in records:
        if isinstance(record, History):
            by_curve.setdefault(mapping.curve(record.key), []).append(record)
        elif isinstance(record, RunEnded):
            end = end or of_run(record)
            mirror.ended_ms = record.end_time_ms
        else:
            mirror.take(record)
    for history in itertools.chain(*by_curve.values()):  # those of one curve together, as `verify` takes them
        mirror.take_history(history)
    end = end or end_if_open
    mirror.end, mirror.ended = end, end is None
    mirror.incomplete = False
    for _ in range(_FLUSHES):
        mirror.flush()
        if not (mirror.has_work or mirror.is_capturing()):
            if not deleted:
                link(mirror, uri)
            mirror.capture.remove()
            return


def link(mirror: RunMirror, tracking_uri: str) -> None:
    """Write the link tags of a run whose Task is complete; for runs whose process is gone.

    Raises:
        mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
    """
    if mirror.task is not None:
        tags = {TASK_ID: mirror.task.id, STATE: "synced"}
        if mirror.task.url:
            tags[TASK_URL] = mirror.task.url
        set_tags(tracking_uri, mirror.run.run_id, tags)
        mirror.tagged = True
