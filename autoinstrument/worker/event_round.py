"""Send points and console lines of several runs in common requests.

The number of requests grows with time and bytes, and not with the number of runs: ClearML servers limit the rate of
requests. `events.add_batch` takes events of several Tasks (recorded of API 2.34).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from autoinstrument.clearml_api.errors import GONE, ClearMLError, InternalError, OwnError, RefusedError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import swallow
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.worker.live_run import LiveRun

_Batches = list[tuple[LiveRun, list[dict[str, Any]]]]
_Failed = dict[LiveRun, ClearMLError]
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
        failed: _Failed = {}
        batches = _taken(first, share, failed)
        try:
            refused = tasks.add_events([event for _, events in batches for event in events])
        except (InternalError, RefusedError) as error:
            _send_apart(batches, error, failed)
        except ClearMLError as error:  # the server does not answer: nothing more can be sent
            for mirror in waiting:
                done(mirror, error)
            return
        else:
            for mirror, _ in batches:
                if mirror.task is not None and mirror.task.id in refused:
                    failed[mirror] = RefusedError(f"the Task {mirror.task.id} was deleted or published", GONE)
                else:
                    with _alone(mirror, failed):
                        mirror.events.sent()
        waiting = waiting[len(first) :]
        for mirror in first:
            goes_on = False
            with _alone(mirror, failed):
                goes_on = mirror not in failed and mirror.events.have_events
            if goes_on:
                waiting.append(mirror)
            else:
                done(mirror, failed.get(mirror))


@contextlib.contextmanager
def _alone(mirror: LiveRun, failed: _Failed) -> Iterator[None]:
    """Note an error as that of one run: the others of the request have sent their events, or still can."""
    try:
        yield
    except ClearMLError as error:
        failed[mirror] = error
    except Exception as error:  # of code that meets data which it does not expect
        swallow("mirroring a run", error)
        failed[mirror] = OwnError("mirroring the run", error)


def _taken(mirrors: Sequence[LiveRun], share: int, failed: _Failed) -> _Batches:
    """Return the next events of some runs; note those that have failed to give theirs."""
    batches: _Batches = []
    for mirror in mirrors:
        if mirror.task is not None:
            with _alone(mirror, failed):
                batches.append((mirror, mirror.events.take(mirror.task, share)))
    return batches


def _send_apart(batches: _Batches, error: ClearMLError, failed: _Failed) -> None:
    """Send each run's events by themselves: one run's data is at fault. Note the runs whose events are not sent."""
    for mirror, events in batches:
        with _alone(mirror, failed):
            mirror.events.send_again(events, error)
