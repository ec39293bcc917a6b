"""Deliver the worker's runs beside each other: each is lent to a thread, and comes home when that has done a step."""

from __future__ import annotations

from collections.abc import Callable
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

    def deliver_all(self, runs: RunRegistry) -> None:
        """Lend each run for which something can be done now."""
        together: list[tuple[LiveRun, TrainingProcess]] = []
        is_tried = self._scheduler.is_probing and any(mirror.is_away for mirror in runs.mirrors.values())
        mirrors = [each for each in runs.mirrors.items() if not each[1].is_at_rest]
        if self._scheduler.is_probing:  # the server may fail for one run alone: another one is tried next
            mirrors.sort(key=lambda each: each[1].last_sent)
        for run_id, mirror in mirrors:
            home, is_open = runs.home[run_id], run_id in runs.open
            mirror.console.tick()
            if mirror.is_away or home.is_ending or is_tried:
                continue
            step = self._scheduler.step(mirror, home, is_open=is_open)
            if step is None and not is_open:
                mirror.rest()
            if step is None or (step is Step.LINK and runs.waits_for_parent(mirror)):
                continue
            mirror.lend()
            if step is Step.SEND_EVENTS:
                together.append((mirror, home))
            elif step is Step.LINK:
                self._lend(mirror, partial(self._scheduler.link, mirror, home), is_link=True)
            else:
                self._lend(mirror, partial(self._scheduler.deliver, mirror, home, is_open=is_open))
            is_tried = self._scheduler.is_probing
        if together:
            send = partial(self._scheduler.send_events, together, self._bring_home)
            self._jobs.submit(send, is_short=True)  # it does not wait until other runs' files are uploaded

    def look_for_aborts(self, watch: AbortWatcher, runs: RunRegistry) -> None:
        """Ask ClearML whether Tasks of running processes were stopped."""
        opened = [(runs.mirrors[run_id], owners.copy()) for run_id, owners in runs.open.items()]
        by_task = watch.begin((mirror, owners) for mirror, owners in opened if mirror.is_running)

        def at_home(mirror: LiveRun, change: Callable[[], object]) -> None:
            self.call(partial(mirror.do, change))

        self._jobs.submit(partial(watch.look, by_task, at_home))

    def _lend(self, mirror: LiveRun, work: Callable[[], object], *, is_link: bool = False) -> None:
        def do() -> None:
            try:
                work()
            finally:
                self._bring_home(mirror, is_link=is_link)

        self._jobs.submit(do, is_short=is_link)

    def _bring_home(self, mirror: LiveRun, *, is_link: bool = False) -> None:
        """Give a run back to the loop, on the thread that has delivered it."""

        def arrive() -> bool:
            return mirror.come_home() or (is_link and mirror.task is not None)

        self.call(arrive)
