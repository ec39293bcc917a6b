"""Send the new points of running runs that a follower mirrors, those of all runs together."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

from autoinstrument.clearml_api.errors import InternalError, RefusedError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.mlflow_store.new_points import new_points
from autoinstrument.sync.followed_run import FollowedRun
from autoinstrument.sync.job_results import results_of
from autoinstrument.sync.selection import Outcome


class FollowedPoints:
    """Sends points.

    Args:
        tasks: the server.
        executor: reads several runs' points at a time.
    """

    def __init__(self, tasks: Tasks, executor: Executor) -> None:
        self._tasks, self._executor = tasks, executor

    def send(self, runs: Collection[FollowedRun], now: float) -> Iterator[Outcome]:
        """Send the points that were logged since the last look; yield the outcomes of runs that cannot be read.

        Raises:
            ClearMLError: the server did not answer.
        """
        self._send_first(runs)
        ready = [run for run in runs if run.may_send(now)]
        unread = [(run, marks) for run in ready if (marks := run.unread())]
        jobs = {self._executor.submit(new_points, run.stored.run, marks): run for run, marks in unread}
        for run, points in results_of(jobs):
            if isinstance(points, Exception):
                yield run.failed(points)
            else:
                run.read(points)
        batch: list[tuple[FollowedRun, list[dict[str, Any]]]] = []
        count = 0
        for run in ready:
            if run.points:
                batch.append((run, run.events()))
                count += len(batch[-1][1])
            if count >= MAX_EVENTS:
                self._send(batch, now)
                batch, count = [], 0
        self._send(batch, now)

    def _send_first(self, runs: Iterable[FollowedRun]) -> None:
        """Show the latest points of new runs whose histories are read in a later look, which sends refused ones, too.

        Raises:
            ClearMLError: the server did not answer.
        """
        events = [event for run in runs for event in run.first_events()]
        for first in range(0, len(events), MAX_EVENTS):
            with contextlib.suppress(InternalError, RefusedError):
                self._tasks.add_events(events[first : first + MAX_EVENTS])

    def _send(self, batch: Sequence[tuple[FollowedRun, list[dict[str, Any]]]], now: float) -> None:
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
            run.sent(now, is_refused=run.task_id in refused)
