"""Make a run's Task complete from the MLflow store, which holds everything but the capture."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from autoinstrument.clone_run.lineage import lineage
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror import mapping
from autoinstrument.mirror.mapping.run_status import End, of_run
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mlflow_store.link_tags import STATE, TASK_ID, TASK_URL, set_killed, set_tags
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.run_data import read_run
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
    ask: Callable[[Callable[[], Any]], Any] = lambda work: work(),
) -> bool:
    """Bring a run's Task up to what the MLflow store holds, end it, write the link tags, and drop the capture.

    Where files wait to be uploaded (`mirror.lacking`), or MLflow does not take the tags, the capture stays. Returns
    True if the run has ended in MLflow.

    Args:
        mirror: the run's, as far as it came.
        tracking_uri: where the run is; the capture's own if "" (there, credentials are left out on disk).
        end: what is known of the run's end; else MLflow's own status counts.
        end_if_open: its end where MLflow knows of none either: a run whose process is dead.
        deleted: the run is in MLflow's trash, where it takes no tags.
        ask: calls MLflow's client, with a limit in time where it has one.

    Raises:
        mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    uri = tracking_uri or mirror.run.tracking_uri
    run, records = ask(
        lambda: read_run(
            uri,
            mirror.run.run_id,
            experiment_name=mirror.run.experiment_name,
            artifacts=mirror.settings.artifacts != "off",
        )
    )
    mirror.run = mirror.run._replace(tracking_uri=uri, artifact_uri=run.artifact_uri)
    by_curve = dict[tuple[str, str], list[History]]()
    has_ended = False
    for record in records:
        if isinstance(record, History):
            by_curve.setdefault(mapping.curve(record.key), []).append(record)
        elif isinstance(record, RunEnded):
            end, has_ended = end or of_run(record), True
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
            mirror.capture.delivered = True
            if not deleted:
                with guard("writing the capture"):
                    mirror.capture.save()  # should MLflow not take the link, that alone is left to do
                ask(lambda: write_back(mirror.capture, uri))
                mirror.tagged = True
            mirror.capture.remove()
            break
    return has_ended


def write_back(capture: RunJournal, tracking_uri: str) -> None:
    """Write to MLflow what only the capture knows: the end of a killed run; the link, and the origin of a cloned Task.

    The link is written when the Task is complete. Doing it again changes nothing.

    Raises:
        Exception: MLflow's store does not answer; it raises what its driver raises.
    """
    run = capture.run
    if capture.killed:
        set_killed(tracking_uri, run.run_id)
        capture.killed = False
    if capture.delivered:
        tags = lineage(run.tags)
        if capture.task_id:
            tags |= {TASK_ID: capture.task_id, STATE: "synced"}
        if capture.task_url:
            tags[TASK_URL] = capture.task_url
        if tags:
            set_tags(tracking_uri, run.run_id, tags)
