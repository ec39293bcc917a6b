"""Send points and console lines of several runs in common requests.

The number of requests grows with time and bytes, and not with the number of runs: ClearML servers limit the rate of
requests. `events.add_batch` takes events of several Tasks (recorded of API 2.34).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autoinstrument.clearml_api.errors import GONE, ClearMLError, InternalError, RefusedError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.worker.live_run import LiveRun

_Batches = list[tuple[LiveRun, list[dict[str, Any]]]]
_MOST = 2 * MAX_EVENTS
_LEAST = 50
"""Events of one run in one request: with more runs than fit, some take part in the next one."""


def send_events(tasks: Tasks, mirrors: Sequence[LiveRun], done: Callable[[LiveRun, ClearMLError | None], None]) -> None:
    """Send the events that wait, each run's share in turn, until all are sent.

    Args:
        tasks: the server.
        mirrors: runs that have a Task.
        done: called with each run once: with None when it has no more events, or with the error that stopped it.
    """
    waiting = [mirror for mirror in mirrors if mirror.task is not None]
    while waiting:
        first = waiting[: _MOST // _LEAST]
        share = min(MAX_EVENTS, _MOST // len(first))
        batches, failed = _taken(first, share)
        try:
            refused = tasks.add_events([event for _, events in batches for event in events])
        except (InternalError, RefusedError) as error:
            failed |= _send_apart(batches, error)
        except ClearMLError as error:  # the server does not answer: nothing more can be sent
            for mirror in waiting:
                done(mirror, error)
            return
        else:
            for mirror, _ in batches:
                if mirror.task is not None and mirror.task.id in refused:
                    failed[mirror] = RefusedError(f"the Task {mirror.task.id} was deleted or published", GONE)
                else:
                    mirror.events.sent()
        waiting = waiting[len(first) :]
        for mirror in first:
            if mirror in failed or not mirror.events.have_events:
                done(mirror, failed.get(mirror))
            else:
                waiting.append(mirror)


def _taken(mirrors: Sequence[LiveRun], share: int) -> tuple[_Batches, dict[LiveRun, ClearMLError]]:
    """Return the next events of some runs, and the runs that have failed to give theirs."""
    batches: _Batches = []
    failed: dict[LiveRun, ClearMLError] = {}
    for mirror in mirrors:
        if mirror.task is not None:
            try:
                batches.append((mirror, mirror.events.take(mirror.task, share)))
            except ClearMLError as error:
                failed[mirror] = error
    return batches, failed


def _send_apart(batches: _Batches, error: ClearMLError) -> dict[LiveRun, ClearMLError]:
    """Send each run's events by themselves: one run's data is at fault. Return the runs whose events are not sent."""
    failed: dict[LiveRun, ClearMLError] = {}
    for mirror, events in batches:
        try:
            mirror.events.send_again(events, error)
        except ClearMLError as own:
            failed[mirror] = own
    return failed
