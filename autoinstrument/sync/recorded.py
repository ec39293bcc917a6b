"""`sync`: complete the Tasks of runs that were recorded on this machine, and of any other run of MLflow's store.

A run is recorded if it had no server, or if its process died with work undone; see `journal.run_journal`. For the other
runs see `sync.stored`. Both go through `mirror.completion`: a sync that is repeated, was cut off, or runs twice at once
ends in the same state.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Executor
from pathlib import Path

from autoinstrument.clearml_api.errors import ClearMLError, FilesUnavailableError
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.settings import kept, written
from autoinstrument.journal.liveness import why_alive
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.completion import complete, write_back
from autoinstrument.mirror.kinds.environment import script_of_tags
from autoinstrument.mirror.mapping.run_status import of_death, of_journal
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.left_out import LEFT_OUT, REASON
from autoinstrument.mlflow_store.link_tags import LINK_TAGS
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.runs import StoredRun, find_run, find_runs, left_open
from autoinstrument.mlflow_store.store_errors import (
    NoStoreError,
    NotFoundError,
    problem_of,
    problem_of_recorded,
    says_gone,
)
from autoinstrument.mlflow_store.urls import with_known_credentials
from autoinstrument.scrubber import without_credentials
from autoinstrument.settings import Settings
from autoinstrument.sync.failures import GivingUp, failed
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.stored import sync_runs

_PATIENCE_S = 15.0
"""Seconds in which workers at work may yet deliver runs: of all runs together, because a study may have thousands."""


def sync(
    selection: Selection,
    settings: Settings,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    registry: Registry | None = None,
) -> Iterator[Outcome]:
    """Complete the Tasks of the selected runs; yield each run's outcome as soon as it is done.

    An executor syncs `jobs` of the store's runs at a time. Runs of the selected experiments whose models have changed
    in a `registry` since the last call count as selected, whenever they began and ended.

    Raises:
        NotFoundError: there is no experiment of such a name.
    """
    seen = set()
    for outcome in _sync_recorded(selection, settings):  # first, because MLflow may call a run RUNNING that has died
        seen.add(outcome.run_id)
        yield outcome
    if selection.asks_store:
        registry = registry or Registry()
        yield from _sync_stored(selection, settings, seen, registry, jobs, executor)


def _sync_stored(
    selection: Selection,
    settings: Settings,
    seen: Collection[str],
    registry: Registry,
    jobs: int,
    executor: Executor | None,
) -> Iterator[Outcome]:
    """Complete runs of the tracking store that are not among the recorded ones (`seen`)."""
    single: list[StoredRun] = []
    for run_id in selection.runs:
        if run_id not in seen:
            try:
                single.append(find_run(run_id))
            except Exception as error:  # MLflow's store raises what its driver raises
                yield failed(run_id, "", error)
    found = _found(selection, seen, registry) if selection.is_of_store else iter(())
    left_out: list[Outcome] = []
    found = _chosen(found, selection, settings, left_out)
    try:
        for outcome in sync_runs(itertools.chain(single, found), selection, settings, registry, jobs, executor):
            if outcome.result == "failed":
                registry.note_failed(outcome.run_id)
            yield outcome
        yield from left_out
    except NotFoundError:
        raise
    except Exception as error:  # as above: the search itself
        yield failed("", "", error)


def _found(selection: Selection, seen: Collection[str], registry: Registry) -> Iterator[StoredRun]:
    """Yield the runs of the store that are selected, then those whose models have changed in the registry."""
    found: set[str] = set()
    for stored in find_runs(
        experiments=selection.experiments,
        since_ms=selection.since_ms,
        ended_since_ms=selection.ended_since_ms,
        deleted=True,
        known=selection.known,
    ):
        if selection.has_stored(stored) and stored.run.run_id not in seen:
            found.add(stored.run.run_id)
            yield stored
    for run_id in sorted(registry.changed() - found - set(seen)):
        with contextlib.suppress(NotFoundError):  # a version may name a run of another store
            stored = find_run(run_id)
            if not selection.experiments or stored.run.experiment_name in selection.experiments:
                yield stored


def _chosen(
    found: Iterator[StoredRun], selection: Selection, settings: Settings, left_out: list[Outcome]
) -> Iterator[StoredRun]:
    """Yield the runs of experiments that are mirrored, and those with a link; append the others to `left_out`."""
    for stored in found:
        if selection.leaves_out(stored, settings.experiments):
            left_out.append(Outcome(stored.run.run_id, stored.run.run_name, LEFT_OUT, REASON))
        else:
            yield stored


def _sync_recorded(selection: Selection, settings: Settings) -> Iterator[Outcome]:
    """Complete recorded runs, parents first, until `GivingUp` says that trying is useless."""
    session = Session()
    tasks, uploads = Tasks(session), Uploads(FileUploads(session))
    made: dict[str, str] = {}
    giving_up, until = GivingUp(), time.monotonic() + _PATIENCE_S
    for folder, journal in _recorded(RunJournals(settings), selection):
        if not isinstance(journal, RunJournal):
            yield Outcome(folder.name, "", "failed", journal)
            continue
        outcome = Outcome(journal.run.run_id, journal.run.run_name, "pending", "")
        if not selection.dry_run:
            journal = _after_waiting(journal, until)
        alive = why_alive(journal)
        if not (folder / "capture.json").exists():
            continue  # the worker has completed it in the meantime
        if alive:
            yield outcome._replace(result="running", detail=f"{alive}; left alone")
        elif selection.dry_run:
            yield outcome._replace(detail=journal.task_url or "no Task yet")
        elif giving_up.reason:
            yield outcome._replace(result="failed", detail=giving_up.reason)
        else:
            try:
                url = _complete(journal, settings, tasks, uploads, made)
                giving_up.succeeded()
                yield outcome._replace(result="synced", detail=url)
            except ClearMLError as error:
                giving_up.failed(error)
                yield failed(outcome.run_id, outcome.run_name, error)
            except ImportError as error:
                giving_up.give_up(problem_of(error))
                yield outcome._replace(result="failed", detail=giving_up.reason)
            except Exception as error:  # MLflow's store raises what its driver raises
                outcome = failed(outcome.run_id, outcome.run_name, error)
                yield outcome._replace(detail=_remedy(error, outcome.run_id, folder) or outcome.detail)


def _remedy(error: Exception, run_id: str, folder: Path) -> str:
    """Return what helps a recorded run whose store or run is gone, "" for any other error; `folder` has its journal."""
    if isinstance(error, NoStoreError) and error.is_new:
        return f"{problem_of_recorded(error)}; if it is gone, delete its runs' journals in {folder.parent}"
    if says_gone(error, run_id):
        forget = f"`rm -r {shlex.quote(str(folder))}`"
        return f"MLflow has no such run any more; if it was deleted on purpose, {forget} forgets it"
    return ""


def _complete(journal: RunJournal, settings: Settings, tasks: Tasks, uploads: Uploads, made: dict[str, str]) -> str:
    settings = kept(journal.settings, settings) if journal.settings else settings
    if not journal.run.is_described:
        _describe(journal, settings)
    if journal.delivered:  # only MLflow lacks something
        write_back(journal, with_known_credentials(journal.run.tracking_uri), note=settings.note)
        journal.remove()
        made[journal.run.run_id] = journal.task_id
        return journal.task_url
    if not tasks.capture_settings().stored:
        journal.script.pop("diff", None)
    parent = journal.run.parent_run_id
    mirror = RunMirror(
        journal, settings, tasks, uploads,
        look_first=True,
        parent_task=lambda: (made.get(parent) or tasks.of_run(parent)) if parent else "",
    )  # fmt: skip
    end = of_journal(journal.end) if journal.end else None
    if end is not None and end.traceback:
        mirror.console.show_traceback(end.traceback)
        mirror.console.finish()
    has_died = journal.process is not None or journal.guessed
    dead = of_death(out_of_memory=False) if has_died and journal.run.owned else None
    try:
        uri = with_known_credentials(journal.run.tracking_uri)
        has_ended = complete(mirror, uri, end=None if journal.guessed else end, end_if_open=end or dead)
    except ClearMLError as error:
        journal.reason = str(error)[:500]
        journal.save()  # so that a Task that was made is found again
        raise
    made[journal.run.run_id] = journal.task_id
    if mirror.lacking:
        journal.reason = mirror.lacking
        journal.save()
        raise FilesUnavailableError(mirror.lacking)
    url = journal.task_url + mirror.left_out
    return url if has_ended or not dead else f"{url}; {left_open(journal.run.run_id)}"


def _describe(journal: RunJournal, settings: Settings) -> None:
    """Ask MLflow about a run of which its worker knew only that it exists and that its process is gone."""
    known = journal.run
    found = find_run(known.run_id, with_known_credentials(known.tracking_uri), known.workspace).run
    tags = {name: tag for name, tag in found.tags.items() if name not in LINK_TAGS}
    journal.run = found._replace(tags=tags, owned=known.owned, switched_off=known.switched_off)
    uri = without_credentials(known.tracking_uri)
    journal.settings = written(settings, uri, found.experiment_name, found.workspace)
    journal.script = journal.script or script_of_tags(tags)


def _after_waiting(journal: RunJournal, until: float) -> RunJournal:
    """Wait for the worker of a run that has just begun or ended, which may be about to deliver it."""
    while (journal.end or not journal.worker_pid) and why_alive(journal) and time.monotonic() < until:
        time.sleep(0.2)
        try:
            journal = RunJournal.load(journal.folder)
        except (OSError, ValueError):
            break  # the worker has delivered it
    return journal


def _recorded(journals: RunJournals, selection: Selection) -> list[tuple[Path, RunJournal | str]]:
    """Return the selected journals, parents before their children; the reason in place of one that is damaged."""
    found: list[tuple[Path, RunJournal | str]] = []
    for folder in journals:
        try:
            journal = RunJournal.load(folder)
        except FileNotFoundError:
            continue  # its worker has completed it in the meantime
        except (OSError, ValueError) as error:
            if selection.has_all_recorded or folder.name in selection.runs:
                found.append((folder, f"the journal cannot be read: {' '.join(str(error).split())[:300]}"))
            continue
        if selection.has_recorded(journal.run):
            found.append((folder, journal))
    known = {journal.run.run_id for _, journal in found if isinstance(journal, RunJournal)}

    def order(item: tuple[Path, RunJournal | str]) -> tuple[bool, int]:
        journal = item[1]
        if isinstance(journal, str):
            return True, 0
        return journal.run.parent_run_id in known, journal.run.start_time_ms

    return sorted(found, key=order)
