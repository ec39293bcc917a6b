"""Make the Tasks of a store's runs, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError, TooLargeError
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mirror.mapping.task_settings import settings_of
from autoinstrument.mlflow_store.link_tags import TASK_URL
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.mlflow_store.runs_together import read_together
from autoinstrument.settings import Settings
from autoinstrument.sync.failures import GivingUp, failed
from autoinstrument.sync.job_processes import JobProcessError
from autoinstrument.sync.queued_runs import end_of
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.stored_run import of_this_thread, sync_one
from autoinstrument.sync.task_search import batches_with_tasks
from autoinstrument.sync.verify import is_up_to_date


def sync_runs(
    runs: Iterable[StoredRun],
    selection: Selection,
    settings: Settings,
    registry: Registry,
    jobs: int = 1,
    executor: Executor | None = None,
) -> Iterator[Outcome]:
    """Complete the Tasks of runs; yield each run's outcome as soon as it is done.

    An executor does `jobs` of them at a time; without one, this thread does them one by one. At most `2 * jobs` runs
    are handed out at once, however many there are in the store. A parent and its child may both make the parent's Task
    at the same time; one of the two gives way. After the server has refused the credentials, or has not answered for
    some runs, no further run is tried.
    """
    server = of_this_thread(settings, selection.full).tasks
    workers = executor or _SameThread()
    most = 2 * jobs if executor else 1
    waiting: dict[Future[Outcome], StoredRun] = {}
    giving_up = GivingUp()

    def done(count: int) -> Iterator[Outcome]:
        """Yield the outcomes of runs that are done; wait until fewer than `count` are in progress."""
        while waiting:
            ready, others = wait(waiting, 0 if len(waiting) < count else None, return_when=FIRST_COMPLETED)
            for future in ready:
                run = waiting.pop(future).run
                try:
                    outcome = future.result()
                    giving_up.succeeded()
                except ClearMLError as error:
                    giving_up.failed(error)
                    outcome = failed(run.run_id, run.run_name, error)
                except JobProcessError as error:
                    outcome = failed(run.run_id, run.run_name, error)
                    outcome = outcome._replace(detail=f"{error}; run the command again")
                yield outcome
            if len(others) < count:
                return

    try:
        for batch in batches_with_tasks(runs, server):
            due = list[tuple[StoredRun, dict[str, Any]]]()
            for stored, held, parent in batch:
                if giving_up.reason:
                    yield _given_up(stored, giving_up)
                elif isinstance(held, ClearMLError):
                    giving_up.failed(held)
                    if not isinstance(held, TooLargeError):  # the search was tried several times
                        giving_up.give_up(str(held))
                    yield failed(stored.run.run_id, stored.run.run_name, held)
                elif not (end_of(stored, held) and not selection.dry_run) and (
                    settled := _without_work(stored, held, parent, registry, selection, settings)
                ):
                    giving_up.succeeded()
                    yield settled
                else:
                    due.append((stored, held))
            known = read_together([stored for stored, _ in due])
            for stored, task in due:
                if giving_up.reason:
                    yield _given_up(stored, giving_up)
                    continue
                found = known.get(stored.run.run_id)
                waiting[workers.submit(sync_one, stored, task, settings, selection.full, found)] = stored
                yield from done(most)
        yield from done(1)
    finally:
        for future in waiting:
            future.cancel()


def _given_up(stored: StoredRun, giving_up: GivingUp) -> Outcome:
    return Outcome(stored.run.run_id, stored.run.run_name, "failed", giving_up.reason)


def _without_work(
    stored: StoredRun,
    task: dict[str, Any],
    parent: str,
    registry: Registry,
    selection: Selection,
    settings: Settings,
) -> Outcome | None:
    """Return the outcome of a run that needs no work, None for any other; `parent` is the id of its parent's Task."""
    run = stored.run
    outcome = Outcome(run.run_id, run.run_name, "running", stored.left_open or "it has not ended in MLflow; left alone")
    if not stored.has_ended:
        return outcome
    of = TaskOfRun(stored, task, settings_of(task, settings), lambda: parent, lambda: registry.of_run(run.run_id))
    if task and not selection.full and is_up_to_date(of):
        return outcome._replace(result="unchanged", detail=run.tags.get(TASK_URL, ""))
    if selection.dry_run:
        return outcome._replace(result="pending", detail=run.tags.get(TASK_URL, "no Task yet"))
    return None


class _SameThread(Executor):
    """Runs each call at once, on the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
