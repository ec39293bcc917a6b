"""Make a run's Task complete from the MLflow store, which holds everything but the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autoinstrument.clone_run.lineage import lineage
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.kinds.kind import Kind, StoredData
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mlflow_store.describe import PARENT_RUN
from autoinstrument.mlflow_store.found_run import FoundRun
from autoinstrument.mlflow_store.link_tags import (
    PENDING,
    STATE,
    SYNCED,
    TASK_ID,
    TASK_URL,
    followed,
    set_followed,
    set_killed,
    set_missing_tag,
    set_tags,
)
from autoinstrument.mlflow_store.run_reader import open_run

_FLUSHES = 3
"""Attempts to complete the Task: a file that cannot be read from the store is tried again."""


def complete(
    mirror: RunMirror,
    tracking_uri: str = "",
    *,
    end: End | None = None,
    end_if_open: End | None = None,
    deleted: bool = False,
    found: FoundRun | None = None,
    ask: Callable[[Callable[[], Any]], Any] = lambda work: work(),
) -> bool:
    """Bring a run's Task up to what the MLflow store holds, end it, write the link tags, and drop the journal.

    The journal stays if files wait to be uploaded (`mirror.lacking`), or if MLflow does not take the tags. Returns
    True if the run has ended in MLflow.

    Args:
        mirror: the run's, as far as it came.
        tracking_uri: where the run is; the journal's own if "" (on disk it has no credentials).
        end: how the run ended, if that is known; else MLflow's own status counts.
        end_if_open: how it ended if MLflow knows of no end either: its process is dead.
        deleted: the run is in MLflow's trash, where it takes no tags.
        found: what is known of the run already.
        ask: calls MLflow's client, maybe with a time limit.

    Raises:
        mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    uri, run = tracking_uri or mirror.run.tracking_uri, mirror.run
    known = "" if mirror.journal.kept else run.experiment_name  # a journal has the name that it had when the run began
    reader = ask(lambda: open_run(uri, run.run_id, workspace=run.workspace, experiment_name=known, found=found))
    mirror.change_run(
        tracking_uri=uri, artifact_uri=reader.run.artifact_uri, experiment_name=reader.run.experiment_name
    )
    mirror.take_stored(lambda kind: kind.read(reader))
    has_ended = mirror.settle(end, end_if_open)
    for _ in range(_FLUSHES):
        mirror.flush()
        if not mirror.has_work and not mirror.is_capturing:
            mirror.journal.delivered = True
            if not deleted:
                with guard("writing the journal"):
                    mirror.journal.save()  # if MLflow does not take the link, only that is left to do
                ask(lambda: write_back(mirror.journal, uri, note=mirror.settings.note))
                mirror.note_tagged()
            mirror.journal.remove()
            break
    return has_ended


def keep_up(mirror: RunMirror, read: Callable[[Kind], Iterable[StoredData]], held: Mapping[str, str] | None) -> None:
    """Bring the Task of a run that goes on without an agent up to what the MLflow store holds, and link the two.

    Files that cannot be uploaded wait (`mirror.lacking`).

    Args:
        mirror: the run's.
        read: returns the data of one kind that must be taken.
        held: the run's tags as they were found; None if the caller links the two.

    Raises:
        mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    run = mirror.run
    mirror.take_stored(read)
    for _ in range(_FLUSHES):
        mirror.flush_without_end()
        if not mirror.may_send:
            break
    if mirror.task is not None and held is not None:
        link = mirror.task.id, mirror.task.url
        if followed(link).items() - held.items():
            set_followed(run.tracking_uri, run.workspace, run.run_id, link, note=mirror.settings.note)


def read_awaited(mirror: RunMirror, ask: Callable[[Callable[[], Any]], Any]) -> None:
    """Take from the MLflow store the kinds of data that await it; the run's flush must follow.

    Raises:
        Exception: the store does not answer; it raises what its driver raises.
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    run = mirror.run
    name = run.experiment_name
    reader = ask(lambda: open_run(run.tracking_uri, run.run_id, workspace=run.workspace, experiment_name=name))
    mirror.take_stored(lambda kind: kind.read(reader), only_awaited=True)


def write_back(journal: RunJournal, tracking_uri: str, *, note: bool) -> None:
    """Write to MLflow what only the journal knows: the end of a killed run; the link, the lineage, and late steps.

    The link is written when the Task is complete; with `note`, into the run's description too. A run whose Task was
    taken away is marked for `sync`. Doing it again changes nothing.

    Raises:
        Exception: MLflow's store does not answer; it raises what its driver raises.
    """
    run = journal.run
    if journal.killed:
        set_killed(tracking_uri, run.workspace, run.run_id)
        journal.killed = False
    if journal.delivered:
        tags = {**lineage(run.tags), STATE: SYNCED if journal.task_id else PENDING}
        if journal.task_id:
            tags[TASK_ID] = journal.task_id
        if journal.task_url:
            tags[TASK_URL] = journal.task_url
        set_tags(tracking_uri, run.workspace, run.run_id, tags, note=note)
        for step in journal.steps:
            set_missing_tag(tracking_uri, run.workspace, step, PARENT_RUN, run.run_id)
