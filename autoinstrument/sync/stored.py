"""Make the Tasks of a store's runs, also of those of which nothing was recorded: older than the agent, or elsewhere.

MLflow's store says all of such a run but its code, packages and console; of the code it says where it was. ClearML
dates a Task by its own clock: a Task's own times are those of the sync, its points and artifacts have the run's.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    FilesUnavailableError,
    NotAllowedError,
    TooLargeError,
    UnavailableError,
)
from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.settings import OBJECT
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.completion import complete
from autoinstrument.mirror.kinds.environment import script_of_tags
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mirror.kinds.status import agreed_end
from autoinstrument.mirror.mapping.links import origin
from autoinstrument.mirror.mapping.task_settings import settings_of
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.link_tags import LINK_TAGS, TASK_ID, TASK_URL
from autoinstrument.mlflow_store.runs import StoredRun, find_run
from autoinstrument.mlflow_store.store_errors import NotFoundError, problem_of
from autoinstrument.mlflow_store.urls import run_page
from autoinstrument.settings import Settings
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.verify import is_up_to_date, task_fields

_LOOK = 25
"""Runs whose Tasks are asked for at a time; the fields that are compared take 8 kB or so each."""
_HOPELESS = 3
"""Runs in a row for which the server did not answer, before the rest is left to the next time."""
_local = threading.local()


def sync_runs(
    runs: Iterable[StoredRun], selection: Selection, settings: Settings, jobs: int = 1, executor: Executor | None = None
) -> Iterator[Outcome]:
    """Complete the Tasks of runs, `jobs` at a time, with any executor; yield what became of each, as they are done.

    No more than twice as many runs are handed out as there are `jobs`, however many there are in the store. A parent
    and its child may both make the parent's Task at the same time; one of the two gives way, as among two people.
    After the server has refused the credentials, or has not answered for some runs, no further one is tried.
    """
    server = Tasks(Session())
    workers = executor or (ThreadPoolExecutor(jobs) if jobs > 1 else _Here())
    most = 2 * jobs if jobs > 1 else 1
    waiting: dict[Future[Outcome], StoredRun] = {}
    stop, failures = "", 0

    def done(count: int) -> Iterator[Outcome]:
        """Yield the outcome of what is done; wait until fewer than `count` are being worked on."""
        nonlocal stop, failures
        while waiting:
            ready, others = wait(waiting, 0 if len(waiting) < count else None, return_when=FIRST_COMPLETED)
            for future in ready:
                run = waiting.pop(future).run
                try:
                    outcome = future.result()
                    failures = 0
                except ClearMLError as error:
                    failures += isinstance(error, UnavailableError) and not isinstance(error, FilesUnavailableError)
                    if isinstance(error, NotAllowedError) or failures >= _HOPELESS:
                        stop = str(error)
                    outcome = Outcome(run.run_id, run.run_name, "failed", str(error))
                yield outcome
            if len(others) < count:
                return

    try:
        for stored, held, parent in _with_tasks(runs, server):
            outcome = Outcome(stored.run.run_id, stored.run.run_name, "failed", stop)
            task = {} if isinstance(held, ClearMLError) else held
            if stop:
                yield outcome
            elif isinstance(held, ClearMLError):
                failures += 1 if isinstance(held, TooLargeError) else _HOPELESS  # others were tried several times
                stop = str(held) if failures >= _HOPELESS else ""
                yield outcome._replace(detail=str(held))
            elif settled := _without_work(stored, task, parent, selection, settings):
                failures = 0
                yield settled
            else:
                waiting[workers.submit(sync_one, stored, task, settings, selection.full)] = stored
                yield from done(most)
        yield from done(1)
    finally:
        for future in waiting:
            future.cancel()
        if executor is None:
            workers.shutdown()


def _with_tasks(
    runs: Iterable[StoredRun], tasks: Tasks
) -> Iterator[tuple[StoredRun, dict[str, Any] | ClearMLError, str]]:
    """Yield each run with what is compared of its Task, nothing where it has none, or why that is not known.

    With it, the id of its parent run's Task, "" for none.
    """
    source = iter(runs)
    while batch := list(itertools.islice(source, _LOOK)):
        wanted = {stored.run.run_id: None for stored in batch}
        wanted |= {stored.run.parent_run_id: None for stored in batch if stored.run.parent_run_id}
        too_large: dict[str, TooLargeError] = {}
        try:
            of_runs = _compared(tasks, list(wanted), too_large)
        except ClearMLError as error:  # after several tries: it is not asked again
            for stored in itertools.chain(batch, source):
                yield stored, error, ""
            return
        for stored in batch:
            if stored.run.run_id in too_large:
                yield stored, too_large[stored.run.run_id], ""
                continue
            run_id, linked = stored.run.run_id, stored.run.tags.get(TASK_ID, "")
            parent = str(next(iter(of_runs.get(stored.run.parent_run_id, [])), {}).get("id", ""))
            try:
                yield stored, tasks.chosen(run_id, linked, of_runs.get(run_id, [])), parent
            except ClearMLError as error:
                yield stored, error, ""


def _compared(tasks: Tasks, run_ids: list[str], too_large: dict[str, TooLargeError]) -> dict[str, list[dict[str, Any]]]:
    """Return what is compared of the Tasks of some runs; where that is too large for one answer, by halves.

    Runs for which it is so by themselves are put into `too_large`, with the reason.

    Raises:
        ClearMLError: the server did not answer, or in that way for several runs: it never stops.
    """
    try:
        of_runs = tasks.of_runs(run_ids, task_fields())
        tasks.add_configuration(list(itertools.chain(*of_runs.values())), OBJECT)
        return of_runs
    except TooLargeError as error:
        if len(run_ids) == 1:
            too_large[run_ids[0]] = error
            if len(too_large) < _HOPELESS:
                return {}
            raise
    middle = len(run_ids) // 2
    return _compared(tasks, run_ids[:middle], too_large) | _compared(tasks, run_ids[middle:], too_large)


def _without_work(
    stored: StoredRun, task: dict[str, Any], parent: str, selection: Selection, settings: Settings
) -> Outcome | None:
    """Return what becomes of a run for which nothing is to be done, None of any other.

    `parent` is its parent run's Task, which its own lacks where that one was made later.
    """
    run = stored.run
    outcome = Outcome(run.run_id, run.run_name, "running", stored.left_open or "it has not ended in MLflow; left alone")
    if not stored.has_ended:
        return outcome
    of = TaskOfRun(stored, task, settings_of(task, settings), lambda: parent)
    if task and not selection.full and is_up_to_date(of):
        return outcome._replace(result="unchanged", detail=run.tags.get(TASK_URL, ""))
    if selection.dry_run:
        return outcome._replace(result="pending", detail=run.tags.get(TASK_URL, "no Task yet"))
    return None


def sync_one(stored: StoredRun, task: dict[str, Any], settings: Settings, full: bool) -> Outcome:
    """Complete the Task of one run, in a session of this thread's own: the SDK's is not made for several.

    Raises:
        ClearMLError: the server did not take everything; calling again goes on from there.
    """
    known = getattr(_local, "backfill", None)
    if known is None or known[0] != (settings, full):
        session = Session()
        known = _local.backfill = (
            (settings, full),
            StoredRunSync(settings, Tasks(session), Uploads(FileUploads(session)), full),
        )
    outcome = Outcome(stored.run.run_id, stored.run.run_name, "synced", "")
    try:
        return outcome._replace(detail=known[1].complete(stored, task))
    except ClearMLError:
        raise
    except Exception as error:  # MLflow's store raises what its driver raises: said, and on to the next
        return outcome._replace(result="failed", detail=problem_of(error))


class _Here(Executor):
    """Does at once, on this thread, what it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class StoredRunSync:
    """Brings single runs of the store to ClearML, parents before their children.

    With `full`, points and files are compared also where a Task seems to hold them.
    """

    def __init__(self, settings: Settings, tasks: Tasks, uploads: Uploads, full: bool) -> None:
        self._full = full
        self._settings = settings
        self._tasks = tasks
        self._uploads = uploads
        self._parents: dict[str, str] = {}
        """Task ids of runs that have children, by run id."""

    def complete(self, stored: StoredRun, task: dict[str, Any]) -> str:
        """Bring a run's Task, which may be empty for none, up to the run; return its address.

        Raises:
            mlflow.exceptions.MlflowException: MLflow's store does not answer, or has no such run.
            ClearMLError: the server did not take everything; calling again goes on from there.
        """
        settings = settings_of(task, self._settings)
        tags = {key: tag for key, tag in stored.run.tags.items() if key not in LINK_TAGS}
        run = stored.run._replace(tags={**tags, **origin(task)})
        if settings.mlflow_ui:
            page = run_page(run.tracking_uri, run.experiment_id, run.run_id, settings.mlflow_ui)
            run = run._replace(run_url=page)
        capture = RunJournal(Path(), run, None)
        capture.kept = False
        capture.task_id = str(task.get("id", ""))
        capture.script = script_of_tags(run.tags)
        mirror = RunMirror(
            capture, settings, self._tasks, self._uploads,
            look_first=False,  # it was looked for already
            is_settled=True,
            parent_task=lambda: self._task_of(stored.run.parent_run_id, stored),
        )  # fmt: skip
        if self._full:
            mirror.compare_exactly()
        mirror.take_held(task)
        complete(mirror, run.tracking_uri, end=agreed_end(stored.status, task), deleted=stored.deleted)
        if mirror.lacking:
            raise FilesUnavailableError(mirror.lacking)
        if mirror.task is None:
            raise UnavailableError("there is no Task")
        return mirror.task.url

    def _task_of(self, parent_id: str, child: StoredRun) -> str:
        """Return the parent's Task; one that is missing is made first, unless the parent is running, or gone."""
        if not parent_id or parent_id == child.run.run_id:
            return ""
        found = self._parents.get(parent_id) or self._tasks.of_run(parent_id)
        if not found:
            with contextlib.suppress(NotFoundError):
                parent = find_run(parent_id, child.run.tracking_uri)
                if parent.has_ended:
                    self.complete(parent, {})
                    found = self._tasks.of_run(parent_id)
        if found:
            self._parents[parent_id] = found
        return found
