"""Bring the Task of one run up to date while the run goes on, without an agent: the jobs of a follower.

Jobs run in any process or thread. A job keeps no state but a session: its result holds how far it came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from autoinstrument.clearml_api.errors import ClearMLError, FilesUnavailableError, UnavailableError
from autoinstrument.clearml_api.tasks import is_adopted
from autoinstrument.mirror.completion import keep_up
from autoinstrument.mirror.kinds.kind import Kind, StoredData
from autoinstrument.mirror.mapping.run_status import is_of_a_process, is_of_agent, is_of_mlflow
from autoinstrument.mirror.mapping.task_settings import settings_of
from autoinstrument.mlflow_store.artifacts import ArtifactStore, StoredFile
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.new_points import Reading, ReadPosition
from autoinstrument.mlflow_store.run_reader import reader_of
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import ArtifactLogged, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.sync.failures import failed
from autoinstrument.sync.selection import Outcome
from autoinstrument.sync.stored_run import of_this_thread

_ENDED = ("completed", "failed", "closed")


class Progress(NamedTuple):
    """How far a running run's Task has come.

    Attributes:
        task_id: its Task.
        is_made: True if this call has made the Task.
        titled_by: how its curves are named, see `mapping.scalars.curve`.
        positions: how far the histories were read, by metric; None if they were left out.
        files: changes with the list of files; that of no files if they were left out.
        is_whole: False if a kind of data was left out that is neither a history nor a file.
    """

    task_id: str
    is_made: bool
    titled_by: str
    positions: Mapping[str, ReadPosition] | None
    files: str
    is_whole: bool


class Extent(NamedTuple):
    """How much `keep_up_one` does for a run.

    Attributes:
        only_found: take only what the search of runs has found, so that a new run has its Task at once; the caller
            links the two.
        histories: compare all points; else histories are left out.
        ping: report that the Task is alive.
    """

    only_found: bool = False
    histories: bool = False
    ping: bool = False


def keep_up_one(
    stored: StoredRun, task: dict[str, Any], settings: Settings, extent: Extent
) -> tuple[Outcome, Progress | None]:
    """Bring a running run's Task up to date, and link the two; make the Task if there is none.

    Args:
        stored: the run.
        task: its Task, as a search finds it; empty for none.
        settings: those of the command.
        extent: how much to do.

    Returns:
        "followed" or "failed", and how far the Task has come if it is there.

    Raises:
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    outcome = Outcome(stored.run.run_id, stored.run.run_name, "followed", "")
    reading, files, left_out = Reading(), list[ArtifactLogged](), list[Kind]()

    def read(kind: Kind) -> Iterable[StoredData]:
        if kind.is_paged:
            return [_watched(data, reading) for data in kind.read(reader)] if extent.histories else ()
        if not (kind.is_in_search or kind.may_be_there(stored)):
            return ()
        if extent.only_found and not kind.is_in_search:
            left_out.append(kind)
            return ()
        return _noted(kind.read(reader), files)

    sync = of_this_thread(settings)
    mirror = sync.mirror(stored, task)
    if must_restart(task):
        mirror.restart()
    try:
        reader = reader_of(stored)
        keep_up(mirror, read, None if extent.only_found else stored.run.tags)
    except ClearMLError:
        raise
    except Exception as error:  # MLflow's store raises what its driver raises
        return failed(outcome.run_id, outcome.run_name, error), None
    if mirror.task is None:
        return failed(outcome.run_id, outcome.run_name, UnavailableError("there is no Task")), None
    if extent.ping:
        sync.ping(mirror.task)
    titled_by = settings_of(task, mirror.settings).scalars
    positions = reading.positions if extent.histories else None
    is_whole = all(kind.is_of_files for kind in left_out)
    progress = Progress(mirror.task.id, mirror.is_made, titled_by, positions, digest(files), is_whole)
    if mirror.lacking:
        return failed(outcome.run_id, outcome.run_name, FilesUnavailableError(mirror.lacking)), progress
    return outcome._replace(detail=mirror.task.url), progress


def listed_files(run: RunStarted) -> str:
    """Return what changes with the list of a run's files: paths, sizes, and times if the store has them.

    Raises:
        Exception: the store does not answer; it raises what its driver raises.
    """
    return digest(
        ArtifactLogged(run.run_id, file.path, file.size, file.time_ms, None) for file in ArtifactStore(run).files()
    )


def digest(files: Iterable[ArtifactLogged | StoredFile]) -> str:
    """Return what changes with a list of files."""
    found = hashlib.blake2b(digest_size=8)
    for file in files:
        found.update(repr((file.path, file.size, file.time_ms)).encode())
    return found.hexdigest()


def must_restart(task: Mapping[str, Any]) -> bool:
    """Return True if the Task of a running run must be set running: it has ended because the run seemed to have ended.

    One that a person has ended, or published, stays so, and so does one that has another owner.
    """
    if not task or is_adopted(task):
        return False
    reason, message = str(task.get("status_reason") or ""), str(task.get("status_message") or "")
    if task.get("status") == "stopped":
        return is_of_a_process(reason, message) or is_of_mlflow(reason)
    return task.get("status") == "created" or (task.get("status") in _ENDED and is_of_agent(task))


def _watched(data: StoredData, reading: Reading) -> StoredData:
    return reading.watched(data) if isinstance(data, History) else data


def _noted(data: Iterable[StoredData], files: list[ArtifactLogged]) -> Iterator[StoredData]:
    for each in data:
        if isinstance(each, ArtifactLogged):
            files.append(each)
        yield each
