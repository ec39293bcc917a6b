"""`sync --follow`: rounds of `sync`, and beside them the mirror of running runs, until a signal ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from types import FrameType

import click

from autoinstrument.cli.health import LIVE, ROUNDS, Health
from autoinstrument.cli.outcomes import kind_of, print_outcome, sum_up
from autoinstrument.mlflow_store.internals import import_clients
from autoinstrument.mlflow_store.known_experiments import KnownExperiments
from autoinstrument.mlflow_store.left_out import LEFT_OUT
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.runs import default_tracking_uri
from autoinstrument.settings import Settings
from autoinstrument.sync.followed_runs import FollowedRuns
from autoinstrument.sync.recorded import sync
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.silent_runs import SilentRuns

EVERY_S = 10.0
_WHOLE_S = 3600.0
"""How often all runs are compared; in between, only those that have ended lately, and those of experiments that were
made, renamed, deleted or restored."""
_REGISTRY_S = 60.0
"""How often the registry is read for aliases and stages that other processes have moved."""
_LATELY_S = 900.0
"""A run counts as new if it ended less than this long ago by the clock of the machine that ran it."""
_SLOWEST = 12
"""While a server fails, rounds become rarer, down to one in so many."""
_END_S, _LOOK_END_S = 9.0, 5.0
"""Seconds after a signal until the process ends in any case, and until a look must have ended. Work that is cut off
can be repeated, and the next follower does so."""


class Follower:
    """One `sync --follow`.

    Args:
        selection: the runs that count.
        settings: those of the command.
        jobs: see `sync.recorded.sync`.
        executor: see `sync.recorded.sync`.
        silent: ends runs of machines that are gone.
        live: mirrors running runs, None if it is not asked for.
        health: what is reported over HTTP.
        as_json: print lines of JSON.
    """

    def __init__(
        self,
        selection: Selection,
        settings: Settings,
        jobs: int,
        executor: Executor | None,
        silent: SilentRuns,
        live: FollowedRuns | None,
        health: Health,
        *,
        as_json: bool,
    ) -> None:
        self._selection = selection if live is None else selection._replace(left_alone=live)
        self._settings, self._jobs, self._executor = settings, jobs, executor
        self._silent, self._live, self._health, self._as_json = silent, live, health, as_json
        self._lock = threading.Lock()
        self._failed: dict[str, Outcome] = {}
        """Failures that still stand, by run id, or by the feed if they are not one run's."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._whole_at, self._known, self._registry = 0.0, KnownExperiments(), Registry(keep_s=_REGISTRY_S)

    def follow(self) -> int:
        """Follow until SIGINT or SIGTERM; print news of each run, and a summary at the end; return the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        if not self._as_json:
            click.echo("following; Ctrl-C ends it", err=True)
        pause = 1
        with contextlib.suppress(KeyboardInterrupt), self._live_beside():
            while True:
                has_failed = self._round()
                pause = min(2 * pause, _SLOWEST) if has_failed else 1
                time.sleep(EVERY_S * pause)
        self._counts.update(kind_of(outcome) for outcome in self._failed.values() if outcome.run_id)
        if not self._as_json:
            sum_up(self._counts, "" if self._failed else "nothing to do")
        return 1 if self._failed else 0

    @contextlib.contextmanager
    def _live_beside(self) -> Iterator[None]:
        """Mirror running runs on another thread while the block runs, if that is asked for."""
        if self._live is None:
            yield
            return
        with contextlib.suppress(ImportError):  # it is reported where it is needed
            import_clients(default_tracking_uri())  # two threads that import MLflow find its modules half loaded
        stop, report = threading.Event(), self._reporter(LIVE)
        arguments = (stop, report, lambda has_failed: self._end(LIVE, has_failed=has_failed))
        thread = threading.Thread(target=self._live.follow, args=arguments, name="autoinstrument-live", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_LOOK_END_S)

    def _round(self) -> bool:
        """Sync once; return True if something failed."""
        is_whole = time.monotonic() >= self._whole_at
        selection = self._selection._replace(known=self._known)
        self._known.begin_round()
        if is_whole:
            self._whole_at = time.monotonic() + _WHOLE_S
        else:
            ended_since_ms = int((time.time() - _LATELY_S) * 1000)
            selection = selection._replace(ended_since_ms=ended_since_ms, full=False)
        has_failed, report = False, self._reporter(ROUNDS)
        found = sync(selection, self._settings, jobs=self._jobs, executor=self._executor, registry=self._registry)
        for outcome in self._silent.beside(found):
            has_failed = has_failed or outcome.result == "failed"
            report(outcome)
        if has_failed and (is_whole or self._known.have_changed):
            self._whole_at = 0.0
        self._end(ROUNDS, has_failed=has_failed)
        return has_failed

    def _reporter(self, feed: str) -> Callable[[Outcome], None]:
        """Return a function that notes and prints the outcomes of `ROUNDS` or `LIVE`."""

        def report(outcome: Outcome) -> None:
            key = outcome.run_id or feed
            with self._lock:
                self._health.note(outcome, feed)
                before = self._failed.pop(key, None)
                alike = next((each for each in self._failed.values() if each.detail == outcome.detail), None)
                if outcome.result == "failed":
                    self._failed[key] = outcome
                if outcome.result in ("unchanged", "running", LEFT_OUT) or outcome == before:
                    return
                click.echo(json.dumps(outcome._asdict())) if self._as_json else print_outcome(outcome, alike)
                if outcome.result != "failed":
                    self._counts[kind_of(outcome)] += 1

        return report

    def _end(self, feed: str, *, has_failed: bool) -> None:
        with self._lock:
            if not has_failed:
                self._failed.pop(feed, None)
            followed = None if self._live is None else len(self._live)
            self._health.end(feed, has_failed=has_failed, followed=followed)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the work in progress; a second signal ends the process at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    timer = threading.Timer(_END_S, os._exit, [1])
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt
