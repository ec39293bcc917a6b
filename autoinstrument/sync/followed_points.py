"""Send the new points of running runs that a follower mirrors, those of all runs together."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from autoinstrument.clearml_api.errors import InternalError, RefusedError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.mlflow_store.new_points import ReadPosition, new_points
from autoinstrument.mlflow_store.short_histories import MOST_RUNS, SHORT, new_points_of_runs
from autoinstrument.sync.followed_run import FollowedRun
from autoinstrument.sync.job_results import results_of
from autoinstrument.sync.own_failures import OwnFailures
from autoinstrument.sync.selection import Outcome

_READ_S = 4.0
"""Seconds after which a look leaves points that must be read to the next one."""
_JOBS = 16
"""Jobs that are handed out at a time: what they have read is sent before others read more."""
_Item = TypeVar("_Item")
_Unread = dict[FollowedRun, dict[str, ReadPosition]]
"""Metrics of runs whose points must be read, and from where."""


class FollowedPoints:
    """Sends points.

    Args:
        tasks: the server.
        executor: reads several runs' points at a time.
        clock: returns seconds that only grow.
    """

    def __init__(self, tasks: Tasks, executor: Executor, clock: Callable[[], float]) -> None:
        self._tasks, self._executor, self._clock = tasks, executor, clock
        self._own = OwnFailures(clock)

    def send(self, runs: Collection[FollowedRun]) -> Iterator[Outcome]:
        """Send the points that were logged since the last look; yield the outcomes of runs that cannot be read.

        Points that need no reading come first, then as many of the others as time allows, beginning with the runs that
        were read least lately.

        Raises:
            ClearMLError: the server did not answer.
        """
        began = self._clock()
        ready = [run for run in runs if run.may_send(began)]
        unread = {run: marks for run in ready if (marks := self._own.attempt(run, run.unread))}
        self._send(ready)
        waiting = sorted(unread, key=lambda run: (run.read_at, run.stored.run.start_time_ms))
        for some in _several(waiting, MOST_RUNS):
            for run in some:
                run.begin_reading(began)
            yield from self._read({run: unread[run] for run in some})
            if self._clock() - began > _READ_S:
                break
        self._send_first(runs)
        yield from self._own.take()

    def _read(self, unread: _Unread) -> Iterator[Outcome]:
        """Read and send points of `MOST_RUNS` runs at most: those of short histories together, then the others.

        Raises:
            ClearMLError: the server did not answer.
        """
        for metrics in _several(_short(unread).items(), _JOBS):
            shared = {
                self._executor.submit(new_points_of_runs, *of, {run.run_id: at for run, at in runs.items()}): (of, runs)
                for of, runs in metrics
            }
            for ((_, _, key), runs), found in results_of(shared):
                if isinstance(found, Exception):  # its process is gone: they are read one by one
                    continue
                for run in runs:
                    if run.run_id in found:
                        self._own.attempt(run, partial(run.read, {key: found[run.run_id]}))
                        del unread[run][key]
            self._send(unread)
        for others in _several([(run, marks) for run, marks in unread.items() if marks], _JOBS):
            single = {self._executor.submit(new_points, run.stored.run, marks): run for run, marks in others}
            for run, points in results_of(single):
                if isinstance(points, Exception):
                    yield run.failed(points)
                else:
                    self._own.attempt(run, partial(run.read, points))
            self._send([run for run, _ in others])

    def _send_first(self, runs: Iterable[FollowedRun]) -> None:
        """Show the latest points of runs whose histories are read in a later look, which sends refused ones, too.

        Raises:
            ClearMLError: the server did not answer.
        """
        events = [event for run in runs for event in self._own.attempt(run, run.first_events) or ()]
        for first in range(0, len(events), MAX_EVENTS):
            with contextlib.suppress(InternalError, RefusedError):
                self._tasks.add_events(events[first : first + MAX_EVENTS])

    def _send(self, runs: Iterable[FollowedRun]) -> None:
        """Send the points that runs have taken.

        Raises:
            ClearMLError: the server did not answer.
        """
        batch: list[tuple[FollowedRun, list[dict[str, Any]]]] = []
        count = 0
        for run in runs:
            if run.points and (events := self._own.attempt(run, run.events)) is not None:
                batch.append((run, events))
                count += len(events)
            if count >= MAX_EVENTS:
                self._send_batch(batch)
                batch, count = [], 0
        self._send_batch(batch)

    def _send_batch(self, batch: Sequence[tuple[FollowedRun, list[dict[str, Any]]]]) -> None:
        """Send the events of some runs.

        A run of which an event is refused is compared with its Task as a whole: that leaves out what is refused.

        Raises:
            ClearMLError: the server did not answer.
        """
        events = [event for _, some in batch for event in some]
        refused = set[str]()
        try:
            for first in range(0, len(events), MAX_EVENTS):
                refused |= self._tasks.add_events(events[first : first + MAX_EVENTS])
        except (InternalError, RefusedError):
            refused = {run.task_id for run, _ in batch}
        for run, _ in batch:
            self._own.attempt(run, partial(run.sent, self._clock(), is_refused=run.task_id in refused))


def _short(unread: _Unread) -> dict[tuple[str, str, str], dict[FollowedRun, ReadPosition]]:
    """Return the runs with short histories of a metric, by address and workspace of their store, and by the metric."""
    found: dict[tuple[str, str, str], dict[FollowedRun, ReadPosition]] = {}
    for run, marks in unread.items():
        for key, position in marks.items():
            if position.number <= SHORT:
                of = run.stored.run.tracking_uri, run.stored.run.workspace, key
                found.setdefault(of, {})[run] = position
    return found


def _several(items: Iterable[_Item], count: int) -> Iterator[list[_Item]]:
    """Yield items in lists of `count`."""
    source = iter(items)
    while some := list(itertools.islice(source, count)):
        yield some
