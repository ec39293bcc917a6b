"""Deliver the worker's runs beside each other: each is lent to a thread, and comes home when that has done a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from autoinstrument.guard import guard
from autoinstrument.worker.abort_watcher import AbortWatcher
from autoinstrument.worker.jobs import Jobs
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.scheduler import Scheduler, Step
from autoinstrument.worker.training_process import TrainingProcess

_EVERY_S = 2.0
"""Seconds between two common requests with points and console lines."""
_SOON_S, _SOON_MOST_S = 0.01, 1.0
"""The same if a run has ended, or a process waits: for each open run, so that many runs that end one after the other do
not need a request each; and at most."""


class Deliveries:
    """The runs that are away, and other work beside the worker's loop.

    All methods but `call` are for the thread of the loop.

    Args:
        scheduler: says what must be done for a run, and does it.
        wake: has the loop call `take_results` soon; called on any thread.
    """

    def __init__(self, scheduler: Scheduler, wake: Callable[[], None]) -> None:
        self._scheduler, self._wake = scheduler, wake
        self._jobs = Jobs()
        self._results: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._round_at = -math.inf
        """When the last common request was made, in seconds of the monotonic clock."""

    def aside(self, work: Callable[[], Any], then: Callable[[Any], object]) -> None:
        """See `jobs.Aside`."""

        def do() -> None:
            result = None
            with guard("working beside the worker's loop"):
                result = work()
            self.call(lambda: then(result))

        self._jobs.submit(do)

    def call(self, function: Callable[[], object]) -> None:
        """Have a function called on the thread of the loop; True from it makes delivery urgent."""
        self._results.put(function)
        self._wake()

    def take_results(self) -> tuple[bool, bool]:
        """Go on with what other threads have done.

        Returns:
            Whether there was anything, and whether delivery is urgent now.
        """
        any_taken = urgent = False
        while not self._results.empty():
            any_taken = True
            with guard("going on after a job"):
                urgent = self._results.get()() is True or urgent
        return any_taken, urgent

    def deliver_all(self, runs: RunRegistry) -> float:
        """Lend each run for which something can be done now.

        Returns:
            When this must be called again at the latest, in seconds of the monotonic clock.
        """
        together: list[tuple[LiveRun, TrainingProcess]] = []
        awaited, is_urgent = runs.awaited(), self._scheduler.is_probing
        is_tried = self._scheduler.is_probing and any(mirror.is_away for mirror in runs.mirrors.values())
        mirrors = [each for each in runs.mirrors.items() if not each[1].is_at_rest]
        if self._scheduler.is_probing:  # the server may fail for one run alone: another one is tried next
            mirrors.sort(key=lambda each: each[1].gate.last_sent)
        for run_id, mirror in mirrors:
            with guard("choosing a run's next step"):  # a run that fails keeps no other one waiting
                home, is_open = runs.home[run_id], run_id in runs.open
                mirror.console.tick()
                if mirror.is_away or home.is_ending or is_tried:
                    continue
                step = self._scheduler.step(mirror, home, is_open=is_open)
                if step is None and not is_open:
                    mirror.rest()
                if step is None or (step is Step.LINK and runs.waits_for_parent(mirror)):
                    continue
                if step is Step.SEND_EVENTS:
                    together.append((mirror, home))
                    is_urgent = is_urgent or mirror.end is not None or run_id in awaited
                elif step is Step.LINK:
                    self._lend(mirror, partial(self._scheduler.link, mirror, home), is_link=True)
                else:
                    self._lend(mirror, partial(self._scheduler.deliver, mirror, home, is_open=is_open))
                is_tried = self._scheduler.is_probing
        soon_s = min(_SOON_MOST_S, _SOON_S * len(runs.open))
        return self._send_together(together, soon_s if is_urgent else _EVERY_S)

    def _send_together(self, together: Sequence[tuple[LiveRun, TrainingProcess]], pause_s: float) -> float:
        """Lend runs whose events go into common requests, if the last one is that long ago; return when it will be."""
        now = time.monotonic()
        if not together or now < self._round_at + pause_s:
            return self._round_at + pause_s if together else math.inf
        self._round_at, lent = now, []
        for mirror, home in together:
            with guard("choosing a run's next step"):
                mirror.lend()
                lent.append((mirror, home))
        send = partial(self._scheduler.send_events, lent, partial(self._bring_home, is_part=True))
        self._jobs.submit(send, is_short=True)  # it does not wait until other runs' files are uploaded
        return math.inf

    def look_for_aborts(self, watch: AbortWatcher, runs: RunRegistry) -> None:
        """Ask ClearML whether Tasks of running processes were stopped."""
        opened = [(runs.mirrors[run_id], owners.copy()) for run_id, owners in runs.open.items()]
        by_task = watch.begin((mirror, owners) for mirror, owners in opened if mirror.is_running)

        def at_home(mirror: LiveRun, change: Callable[[], object]) -> None:
            self.call(partial(mirror.do, change))

        self._jobs.submit(partial(watch.look, by_task, at_home))

    def _lend(self, mirror: LiveRun, work: Callable[[], object], *, is_link: bool = False) -> None:
        mirror.lend()

        def do() -> None:
            try:
                work()
            finally:
                self._bring_home(mirror, is_part=is_link)

        self._jobs.submit(do, is_short=is_link)

    def _bring_home(self, mirror: LiveRun, *, is_part: bool) -> None:
        """Give a run back to the loop, on the thread that has delivered it; the rest is urgent if that was a part."""

        def arrive() -> bool:
            return mirror.come_home() or (is_part and mirror.task is not None and mirror.is_due)

        self.call(arrive)
