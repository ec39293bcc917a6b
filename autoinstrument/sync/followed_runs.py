"""Mirror runs while they are RUNNING, with no agent in their processes: `sync --follow --live`.

One search finds all running runs with the latest point of each metric; what it shows decides what else is asked. New
points are read from where the last reading stopped, and sent for all runs together. Parameters, tags, files and all
other data of a run are compared with its Task as `sync` does, when the search, or a list of its files, shows a change.
`sync` completes a run that has ended.

A run whose agent is at work is left to it. A follower keeps no state on disk: the next one reads everything again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    TooLargeError,
)
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mlflow_store.link_tags import LIVE, PENDING, STATE, TASK_ID, set_tags
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.runs import StoredRun, running_runs
from autoinstrument.mlflow_store.runs_again import found_again
from autoinstrument.settings import Settings
from autoinstrument.sync.daemon_threads import DaemonThreads
from autoinstrument.sync.failures import failed
from autoinstrument.sync.followed_points import FollowedPoints
from autoinstrument.sync.followed_run import FollowedRun
from autoinstrument.sync.job_results import results_of
from autoinstrument.sync.own_failures import OwnFailures
from autoinstrument.sync.running_run import Extent, Progress, keep_up_one, listed_files
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.stored import sync_runs
from autoinstrument.sync.task_search import AT_ONCE, with_tasks

EVERY_S = 4.0
"""Seconds between two looks; not less than `mirror.run_task.ALONE_S`, because a run is followed from the second on."""
_LOOK_S = 4.0
"""Seconds after which a look leaves everything but new runs and points to the next one."""
_FEW = 25
"""New runs that are brought to ClearML at once as a whole."""
_REST_S = 1.0
"""Seconds between two looks, at least; after a long look, a quarter of its time."""
_SLOWEST = 12
"""While a server fails, looks become rarer, down to one in so many."""
_THREADS = 4
_REGISTRY_S = 60.0


class FollowedRuns:
    """The running runs that one follower mirrors; several followers do the same work twice, with the same result.

    Args:
        selection: the experiments, and the time since which runs count.
        settings: those of the command.
        executor: does `jobs` at a time; threads of this process do without one.
        clock: returns seconds that only grow.
    """

    def __init__(
        self,
        selection: Selection,
        settings: Settings,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._selection, self._settings, self._clock = selection, settings, clock
        self._jobs, self._executor = (jobs, executor) if executor else (_THREADS, DaemonThreads(_THREADS))
        self._tasks = Tasks(Session())
        self._points = FollowedPoints(self._tasks, self._executor, clock)
        self._own = OwnFailures(clock)
        self._registry = Registry(keep_s=_REGISTRY_S)
        self._runs: dict[str, FollowedRun] = {}

    def __contains__(self, run_id: object) -> bool:
        """Return True for a run that is mirrored here, until it is completed."""
        run = self._runs.get(str(run_id))
        return run is not None and bool(run.task_id)

    def __len__(self) -> int:
        """Return how many runs are mirrored here."""
        return sum(bool(run.task_id) for run in list(self._runs.values()))

    def follow(
        self, stop: threading.Event, report: Callable[[Outcome], object], ended: Callable[[bool], object]
    ) -> None:
        """Look again and again until told to stop.

        Args:
            stop: ends it, between two steps.
            report: called with the outcome of each run that has changed.
            ended: called after each look, with True if it was cut short: a server was away.
        """
        pause = 1
        while not stop.is_set():
            began, has_failed = self._clock(), False
            for outcome in self.look():
                has_failed = has_failed or (outcome.result == "failed" and not outcome.run_id)
                report(outcome)
                if stop.is_set():
                    return
            ended(has_failed)
            pause = min(2 * pause, _SLOWEST) if has_failed else 1
            took_s = self._clock() - began
            stop.wait(max(EVERY_S * pause - took_s, _REST_S, took_s / 4))

    def look(self) -> Iterator[Outcome]:
        """Look once, and bring all Tasks up to date; yield the outcomes of runs that begin, end or fail."""
        try:
            running = list(running_runs(experiments=self._selection.experiments, linked_only=False))
            gone, linked = self._note(running)
            yield from self._leave(linked)
            yield from self._end(gone)
            self._look_at_files()
            yield from self._keep_up()
            yield from self._points.send(self._runs.values())
            yield from self._own.take()
        except Exception as error:  # MLflow's store raises what its driver raises
            yield failed("", "", error)

    # What is seen

    def _note(self, running: Iterable[StoredRun]) -> tuple[list[FollowedRun], list[FollowedRun]]:
        """Note the running runs.

        Returns:
            Those that were mirrored here and do not run any more, and those that have an agent now.
        """
        now, seen, linked = self._clock(), set[str](), list[FollowedRun]()
        for stored in running:
            run_id = stored.run.run_id
            seen.add(run_id)
            run = self._runs.get(run_id)
            if stored.run.tags.get(STATE) in (LIVE, PENDING) or not self._selection.has_running(
                stored, self._settings.experiments
            ):
                if run is not None:
                    self._own.attempt(run, partial(run.note, stored, now))
                    linked.append(run)
            elif run is None:
                self._runs[run_id] = FollowedRun(stored, now)
            else:
                self._own.attempt(run, partial(run.note, stored, now))
        gone = [run for run_id, run in self._runs.items() if run_id not in seen]
        for run in gone:
            if not run.task_id:
                del self._runs[run.run_id]
        return [run for run in gone if run.task_id], linked

    def _leave(self, runs: Iterable[FollowedRun]) -> Iterator[Outcome]:
        """Leave runs to their agents, which were slow, or have resumed them; a Task made here gives way to an agent's.

        If the server does not delete one, that is tried again later: the other runs are followed on.
        """
        for run in (run for run in runs if run.may_try(self._clock())):
            linked = run.stored.run.tags.get(TASK_ID, "")
            try:
                if run.is_made and linked and linked != run.task_id:
                    task = self._tasks.find(run.task_id, adopted=False, run_id=run.run_id)
                    if task is not None and not task.adopted:
                        self._tasks.delete(task)
                del self._runs[run.run_id]
            except ClearMLError as error:
                run.give_up(self._clock())
                yield run.failed(error)

    # What is done

    def _end(self, gone: Collection[FollowedRun]) -> Iterator[Outcome]:
        """Complete the Tasks of runs that have ended."""
        found = {stored.run.run_id: stored for stored in found_again([run.stored for run in gone])}
        for run in gone:
            if run.run_id not in found:
                del self._runs[run.run_id]
        ended = [stored for stored in found.values() if stored.has_ended or stored.deleted]
        if not ended:
            return
        selection = Selection(runs=tuple(stored.run.run_id for stored in ended))
        for outcome in sync_runs(ended, selection, self._settings, self._registry, self._jobs, self._executor):
            if outcome.result != "failed":
                self._runs.pop(outcome.run_id, None)
            yield outcome

    def _look_at_files(self) -> None:
        """List the files of runs that have changed lately, and now and then of others."""
        if self._settings.artifacts == "off":
            return
        now = self._clock()
        due = [run for run in self._runs.values() if run.are_files_due(now)]
        jobs = {self._executor.submit(listed_files, run.stored.run): run for run in due}
        for run, listed in results_of(jobs):
            # A store that cannot be read was reported with the run; the follower may have no access to it.
            run.note_files(run.files if isinstance(listed, Exception) else listed, now)

    def _keep_up(self) -> Iterator[Outcome]:
        """Bring the Tasks of runs up to date in which more than points has changed, parents before children.

        If many runs are new, each gets a Task first with what the search shows of it, which is cheap, and for many of
        them all there is but points and files. Those that have waited longest come first then, and what does not fit
        into a look is left to the next one.
        """
        began = self._clock()
        due = [run for run in self._runs.values() if run.is_due(began)]
        new = [run for run in due if not run.task_id]
        for wave in _waves(new) if len(new) > _FEW else ():
            yield from self._keep_up_all(wave, only_found=True)
        due = [run for run in due if run.is_due(self._clock())]
        due.sort(key=lambda run: (run.waits_since, run.stored.run.start_time_ms))
        for wave in _waves(due):
            for first in range(0, len(wave), AT_ONCE):
                yield from self._keep_up_all(wave[first : first + AT_ONCE])
                if self._clock() - began > _LOOK_S:
                    return

    def _keep_up_all(self, runs: Collection[FollowedRun], *, only_found: bool = False) -> Iterator[Outcome]:
        jobs, made = dict[Future[tuple[Outcome, Progress | None]], FollowedRun](), list[FollowedRun]()
        for stored, task, _ in with_tasks([run.stored for run in runs], self._tasks):
            run = self._runs[stored.run.run_id]
            if isinstance(task, TooLargeError):
                run.give_up(self._clock())
                yield run.failed(task)
            elif isinstance(task, ClearMLError):
                raise task
            elif not (only_found and task):  # a Task that is there is compared as a whole
                extent = Extent(only_found=True) if only_found else run.extent(self._clock(), has_task=bool(task))
                jobs[self._executor.submit(keep_up_one, stored, task, self._settings, extent)] = run
        for run, done in results_of(jobs):
            if isinstance(done, Exception):
                run.give_up(self._clock())
                yield run.failed(done)
            else:
                is_news = self._own.attempt(run, partial(run.take, *done, self._clock()))
                if only_found and done[0].result != "failed":
                    made.append(run)
                if len(made) >= AT_ONCE:
                    yield from self._link(made)
                    made.clear()
                if is_news:
                    yield done[0]
        yield from self._link(made)

    def _link(self, runs: Collection[FollowedRun]) -> Iterator[Outcome]:
        """Link runs to the Tasks that were made for them, but those that an agent has linked in the meantime."""
        jobs = dict[Future[None], FollowedRun]()
        by_id = {run.run_id: run for run in runs}
        try:
            for stored in found_again([run.stored for run in runs]):
                if stored.run.tags.get(STATE) not in (LIVE, PENDING) and not stored.deleted:
                    run, each = stored.run, by_id[stored.run.run_id]
                    place = run.tracking_uri, run.workspace, run.run_id
                    jobs[self._executor.submit(set_tags, *place, each.link, self._settings.note)] = each
        except Exception:
            for each in runs:
                each.give_up(self._clock())
            raise
        for each, done in results_of(jobs):
            if isinstance(done, Exception):
                each.give_up(self._clock())
                yield each.failed(done)


def _waves(runs: Collection[FollowedRun]) -> Iterator[list[FollowedRun]]:
    """Yield runs in groups, parents before their children."""
    left = {run.run_id: run for run in runs}
    while left:
        wave = [run for run in left.values() if run.stored.run.parent_run_id not in left] or list(left.values())
        for run in wave:
            del left[run.run_id]
        yield wave
