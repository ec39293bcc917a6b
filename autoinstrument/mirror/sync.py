"""Make the Tasks of runs that were recorded without a server, or whose processes died with work undone."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import psutil

from autoinstrument.capture.secrets import without_credentials
from autoinstrument.from_mlflow.links import TASK_ID
from autoinstrument.from_mlflow.store import find_run, find_runs
from autoinstrument.mirror.backfill import Backfill, Outcome, spread
from autoinstrument.mirror.captures import Capture, Captures
from autoinstrument.mirror.completion import complete
from autoinstrument.mirror.ending import End, of_death
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.settings import Settings
from autoinstrument.to_clearml.errors import ClearMLError, NotAllowedError, UnavailableError
from autoinstrument.to_clearml.files import Files
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks

_CLOCK_S = 2.0
_PATIENCE_S = 15.0


def sync_all(settings: Settings, *, runs: Collection[str] = (), dry_run: bool = False) -> Iterator[Outcome]:
    """Complete recorded runs, one after the other; yield what became of each.

    `runs` are run ids, empty for all. After the server refused the credentials no further run is tried.
    """
    session = Session()
    tasks, uploads = Tasks(session), Uploads(Files(session))
    made: dict[str, str] = {}
    captures = _loaded(Captures(settings), runs)
    known = {capture.run.run_id for _, capture in captures if isinstance(capture, Capture)}
    waiting = sorted(captures, key=lambda item: _depth(item[1], known))
    stop = ""
    for folder, capture in waiting:
        if not isinstance(capture, Capture):
            yield Outcome(folder.name, "", "failed", capture)
            continue
        outcome = Outcome(capture.run.run_id, capture.run.run_name, "pending", "")
        if capture.end and not dry_run:
            _wait_for_worker(capture)
            if not (folder / "capture.json").exists():
                continue  # the worker has completed it meanwhile
        if is_alive(capture):
            yield outcome._replace(result="running", detail="its process is still at work; left alone")
        elif dry_run:
            yield outcome._replace(detail=capture.task_url or "no Task yet")
        elif stop:
            yield outcome._replace(result="failed", detail=stop)
        else:
            try:
                yield outcome._replace(result="synced", detail=_sync(capture, settings, tasks, uploads, made))
            except ClearMLError as error:
                stop = str(error) if isinstance(error, NotAllowedError) else ""
                yield outcome._replace(result="failed", detail=str(error))
            except ImportError:
                stop = "MLflow is not installed in this environment"
                yield outcome._replace(result="failed", detail=stop)
            except Exception as error:  # MLflow's store raises what its driver raises: said, and on to the next run
                yield outcome._replace(result="failed", detail=f"MLflow: {type(error).__name__}: {_line(error)}")


def sync_stored(
    settings: Settings,
    *,
    runs: Collection[str] = (),
    experiments: Collection[str] = (),
    everything: bool = False,
    since_ms: int = 0,
    deleted: bool = False,
    full: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    executor: Executor | None = None,
) -> Iterator[Outcome]:
    """Complete runs of the tracking store, recorded or not: some by id, and those of experiments; see `find_runs`.

    Deleted runs that have a Task count without `deleted`, too: it is archived. `jobs` runs are synced at a time, by
    `executor` or by threads.

    Raises:
        LookupError: there is no experiment of such a name.
    """
    session = Session()
    backfill = Backfill(settings, Tasks(session), Uploads(Files(session)), full=full)
    for run_id in runs:
        try:
            stored = find_run(run_id)
        except Exception as error:  # MLflow's store raises what its driver raises
            yield Outcome(run_id, "", "failed", f"MLflow: {_line(error)}")
        else:
            yield from backfill.sync([stored], dry_run=dry_run)
    if experiments or everything:
        found = find_runs(experiments=experiments, since_ms=since_ms, deleted=True)
        wanted = (stored for stored in found if deleted or not stored.deleted or TASK_ID in stored.run.tags)
        if executor is None and jobs == 1:
            yield from backfill.sync(wanted, dry_run=dry_run)
        else:
            with executor or ThreadPoolExecutor(jobs) as workers:
                yield from spread(workers, jobs, wanted, settings, full=full, dry_run=dry_run)


def _sync(capture: Capture, settings: Settings, tasks: Tasks, uploads: Uploads, made: dict[str, str]) -> str:
    mirror = RunMirror(capture, settings, tasks, uploads)
    mirror.look_first = True
    mirror.parent_task = lambda: made.get(capture.run.parent_run_id, "")
    end = End(**capture.end) if capture.end else None
    dead = of_death(out_of_memory=False) if _is_here(capture) and capture.run.owned else None
    try:
        complete(mirror, tracking_uri(capture), end=end, end_if_open=dead)
    except ClearMLError as error:
        capture.reason = str(error)[:500]
        capture.save()  # a Task that was made meanwhile is to be found again
        raise
    made[capture.run.run_id] = capture.task_id
    if mirror.lacking:
        capture.reason = mirror.lacking
        capture.save()
        raise UnavailableError(mirror.lacking)
    return capture.task_url


def is_alive(capture: Capture) -> bool:
    """Tell whether the run's process, or the worker that ends its Task, is still at work on this machine."""
    process = capture.process
    if process is None or not _is_here(capture):
        return False
    if not capture.end and _exists(process.pid, process.started_ms / 1000):
        return True
    return _exists(capture.worker_pid, None)


def _wait_for_worker(capture: Capture) -> None:
    """Give the worker of a run that has just ended the seconds in which it delivers or gives up."""
    deadline = time.monotonic() + _PATIENCE_S
    while is_alive(capture) and time.monotonic() < deadline:
        time.sleep(0.2)


def tracking_uri(capture: Capture) -> str:
    """Return the run's tracking URI, with the credentials that the environment has for it."""
    uri = capture.run.tracking_uri
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    return given if given and without_credentials(given) == uri else uri


def _exists(pid: int, started_s: float | None) -> bool:
    if pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if started_s is None:
            return any("autoinstrument" in argument for argument in process.cmdline())
        return bool(abs(process.create_time() - started_s) < _CLOCK_S)
    except psutil.Error:
        return False


def _is_here(capture: Capture) -> bool:
    return capture.process is not None and capture.process.host == socket.gethostname()


def _loaded(captures: Captures, runs: Collection[str]) -> list[tuple[Path, Capture | str]]:
    """Return all captures that are wanted; in place of one that cannot be read, why."""
    found: list[tuple[Path, Capture | str]] = []
    for folder in captures:
        try:
            capture = Capture.load(folder)
        except (OSError, ValueError, KeyError) as error:
            if not runs or folder.name in runs:
                found.append((folder, f"the capture cannot be read: {_line(error)}"))
            continue
        if not runs or capture.run.run_id in runs:
            found.append((folder, capture))
    return found


def _depth(capture: Capture | str, known: set[str]) -> tuple[bool, int]:
    """Return what sorts parents before their children: their Tasks must exist first."""
    if isinstance(capture, str):
        return (True, 0)
    return (capture.run.parent_run_id in known, capture.run.start_time_ms)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
