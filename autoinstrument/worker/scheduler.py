"""Decide when the Tasks of the worker's runs are brought up to date, and report that to the training processes."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Sequence
from enum import Enum

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.errors import ClearMLError, InternalError, OwnError, RefusedError, TooLargeError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clearml_switches import refusal
from autoinstrument.guard import guard, logger, swallow
from autoinstrument.mirror.completion import complete, read_awaited, write_back
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.store_errors import problem_of_recorded
from autoinstrument.records import RunPending
from autoinstrument.worker.event_round import send_events
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.notices import link_of
from autoinstrument.worker.training_process import TrainingProcess

_PING_S = 60.0
"""A Task for which nothing was sent for so long is pinged: `sync --follow` ends a run that is silent for some minutes,
and the server stops a Task after 7,200 s."""
_PINGS = 5
"""Pings in the time after which a silent run is ended, at least."""

_OF_ONE_RUN = (InternalError, OwnError, RefusedError, TooLargeError)


class Step(Enum):
    """The steps that can be next for a run."""

    LINK = "find or make its Task, in a request or two"
    SEND_EVENTS = "send points and console lines, together with other runs'"
    DELIVER = "bring its Task up to date: this may upload files, and read from MLflow"


class Scheduler:
    """Sends to the one ClearML server, and writes to MLflow what the training processes have left to the worker."""

    def __init__(
        self,
        tasks: Tasks,
        uploads: Uploads,
        mlflow_access: MLflowAccess | None = None,
        *,
        dead_after_s: float = math.inf,
    ) -> None:
        """With `dead_after_s`, the seconds after which a silent run is ended elsewhere."""
        self._tasks = tasks
        self._ping_s = min(_PING_S, dead_after_s / _PINGS)
        self._mlflow = mlflow_access or MLflowAccess()
        self._server = Backoff()
        tasks.on_answer(self._server.answered)
        self._problem = ""
        """Why the last request failed, "" if it did not."""
        self._failing_since_ms = 0
        self._files = uploads.server

    def is_due(self) -> bool:
        """Return True if a request may be sent to the server now."""
        return self._server.is_due()

    def is_stuck(self, mirror: LiveRun) -> bool:
        """Return True if the server has failed that a run waits for, and its next request is not due yet."""
        return not self._server.is_due() or (bool(mirror.lacking) and not self._files.is_due())

    def has_hope(self) -> bool:
        """Return True if the servers may answer soon."""
        return self._server.has_hope() and self._files.has_hope()

    @property
    def failing(self) -> tuple[str, int]:
        """Why requests to the server fail, and since when, in ms since the epoch; ("", 0) if they do not."""
        return self._problem, self._failing_since_ms

    def try_once_more(self) -> None:
        """Shorten the waits, because a process is about to go."""
        self._server.try_once_more()
        self._files.try_once_more()

    def process_began(self) -> None:
        """Try again even if the server has refused the credentials: it may know them by now."""
        self._server.lift_refusal()

    @property
    def is_probing(self) -> bool:
        """True after a failure, until one request succeeds: one run at a time is delivered until then."""
        return self._server.has_failed

    def step(self, mirror: LiveRun, home: TrainingProcess, *, is_open: bool) -> Step | None:
        """Return what must be done for a run now, None for nothing; on the thread to which the run belongs.

        Args:
            mirror: the run.
            home: the process that receives messages about it.
            is_open: the run has not ended.
        """
        if self.is_left(mirror, home) and self._mlflow.is_due(mirror.run.tracking_uri):
            return Step.DELIVER
        if mirror.run.switched_off:
            return None if mirror.notices.is_pending else Step.DELIVER
        if not self._server.is_due():
            return None
        if mirror.is_due:
            if mirror.task is None:
                return Step.LINK
            return Step.SEND_EVENTS if mirror.may_share_request else Step.DELIVER
        return Step.DELIVER if is_open and self._is_ping_due(mirror) else None

    # On any thread: the run belongs to it meanwhile

    def link(self, mirror: LiveRun, home: TrainingProcess) -> None:
        """Find or make a run's Task, and report it to the process; the rest of the run is sent later."""
        with guard("mirroring a run"):
            self._try(mirror, home, mirror.make_task)

    def send_events(self, runs: Sequence[tuple[LiveRun, TrainingProcess]], done: Callable[[LiveRun], None]) -> None:
        """Send points and console lines of several runs together.

        Args:
            runs: with the processes that receive messages about them.
            done: called with each run once, when this thread leaves it.
        """
        homes, left = dict(runs), [mirror for mirror, _ in runs]
        began = time.monotonic()

        def end(mirror: LiveRun, error: ClearMLError | None) -> None:
            mirror.gate.note_sent()
            with guard("mirroring a run"):
                if error is None:
                    self._succeeded(mirror, homes[mirror])
                else:
                    self._failed(mirror, homes[mirror], error, time.monotonic() - began)
            left.remove(mirror)
            done(mirror)

        try:
            with guard("sending events"):
                send_events(self._tasks, list(homes), end)
        finally:
            for mirror in left.copy():
                done(mirror)

    def deliver(self, mirror: LiveRun, home: TrainingProcess, *, is_open: bool) -> None:
        """Send what waits of a run, or a ping if nothing was sent for long."""
        if self.is_left(mirror, home) and self._mlflow.is_due(mirror.run.tracking_uri):
            self._write_back(mirror)
        if mirror.run.switched_off:
            if not mirror.notices.is_pending:
                self._leave(mirror, home, refusal(mirror.run.switched_off))
            return
        if not self._server.is_due():
            return
        with guard("mirroring a run"):
            if mirror.is_due:
                self._try(mirror, home, lambda: self._flush(mirror))
            elif is_open and self._is_ping_due(mirror):
                with contextlib.suppress(ClearMLError):
                    mirror.ping()

    def _is_ping_due(self, mirror: LiveRun) -> bool:
        return time.monotonic() - mirror.gate.last_sent > self._ping_s

    def _flush(self, mirror: LiveRun) -> None:
        if self.is_probing:  # the others need not wait until this run's files are uploaded
            self._tasks.probe()
        mirror.flush_without_end()
        if mirror.is_incomplete and mirror.end is not None:
            self._complete(mirror)
        elif mirror.awaits_store:
            self._read_awaited(mirror)
        else:
            mirror.flush()

    def _try(self, mirror: LiveRun, home: TrainingProcess, send: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            send()
        except ClearMLError as error:
            self._failed(mirror, home, error, time.monotonic() - began)
        except Exception as error:  # tried again after a pause, and the other runs go on
            swallow("mirroring a run", error)
            self._failed(mirror, home, OwnError("mirroring the run", error), time.monotonic() - began)
        else:
            self._succeeded(mirror, home)

    def _failed(self, mirror: LiveRun, home: TrainingProcess, error: ClearMLError, took_s: float) -> None:
        if isinstance(error, _OF_ONE_RUN):  # the other runs must not wait for it
            is_gone = isinstance(error, RefusedError) and error.is_gone
            mirror.server.failed(error, 0.0)
            if is_gone and mirror.task is not None and not mirror.task.adopted:
                mirror.lost()
                if mirror.server.has_hope():
                    mirror.server.try_once_more()  # a new Task may be made at once
        else:
            self._server.failed(error, took_s)
            self._failing_since_ms = self._failing_since_ms or int(time.time() * 1000)
            self._problem = str(error)
        self._leave(mirror, home, str(error))

    def leave(self, mirror: LiveRun, home: TrainingProcess) -> None:
        """Report that a run waits because the server fails for others: its process exits before it was tried itself."""
        if self._problem and mirror.has_work and not (mirror.notices.is_pending or mirror.gate.is_held):
            self._leave(mirror, home, self._problem)

    def _leave(self, mirror: LiveRun, home: TrainingProcess, problem: str) -> None:
        mirror.journal.reason = problem[:500]
        mirror.go_on_undelivered()
        with guard("writing the journal"):
            mirror.journal.keep()
            mirror.journal.save()
        if mirror.notices.leave():
            home.send(RunPending(mirror.run.run_id, f"{problem}; {mirror.journal.remedy}"))

    def _succeeded(self, mirror: LiveRun, home: TrainingProcess) -> None:
        self._server.succeeded()
        self._problem, self._failing_since_ms = "", 0
        mirror.server.succeeded()
        task = mirror.task
        if task is None:
            return
        run_id, is_complete = mirror.run.run_id, mirror.is_complete
        if mirror.notices.is_news(task.id):
            mirror.notices.link(task.id)
            if (mirror.run.owned or mirror.is_made) and not is_complete:
                home.send(link_of(mirror.run, task, delivered=False))
            if not mirror.has_ended:
                with guard("writing the journal"):
                    mirror.journal.save()
        if mirror.has_ended and mirror.lacking and mirror.notices.leave_files():
            home.send(RunPending(run_id, f"{mirror.lacking}; files wait, `autoinstrument sync` completes it later"))
        if is_complete:
            mirror.complete()
            if not home.waits.is_answered and home.gone_at is None:
                home.send(link_of(mirror.run, task, delivered=True, steps=mirror.journal.steps))

    def is_left(self, mirror: LiveRun, home: TrainingProcess) -> bool:
        """Return True if MLflow lacks something of a run that only the worker can still write."""
        is_unlinked = mirror.journal.delivered and not mirror.is_tagged
        is_gone = home.gone_at is not None  # until then it may be writing that the run is pending
        return mirror.journal.killed or (is_unlinked and is_gone)

    def _write_back(self, mirror: LiveRun) -> None:
        """Write to MLflow what only the journal holds, and remove the journal if nothing else is missing."""
        journal, uri, note = mirror.journal, mirror.run.tracking_uri, mirror.settings.note
        try:
            self._mlflow.ask(uri, lambda: write_back(journal, uri, note=note))
        except Exception as error:  # MLflow's store raises what its driver raises
            self._not_taken(mirror, error)
        else:
            if journal.delivered:
                mirror.note_tagged()

    def _not_taken(self, mirror: LiveRun, error: Exception) -> None:
        """Note why MLflow cannot be asked about a run, or refuses its link; `sync` tries again."""
        mirror.journal.reason = problem_of_recorded(error)[:500]
        logger().warning("run %s: %s; %s", mirror.run.run_id, mirror.journal.reason, mirror.journal.remedy)
        with guard("writing the journal"):
            mirror.journal.save()

    def _complete(self, mirror: LiveRun) -> None:
        """Read from MLflow what a run lacks, and end it; end it even if MLflow does not answer."""
        ask = functools.partial(self._mlflow.ask, mirror.run.tracking_uri)
        try:
            complete(mirror, end=None if mirror.journal.guessed else mirror.end, end_if_open=mirror.end, ask=ask)
        except ClearMLError:
            raise
        except Exception as error:  # MLflow's store raises what its driver raises
            if mirror.journal.delivered:  # all but the link
                mirror.close()
                self._not_taken(mirror, error)
                return
            mirror.flush()
            mirror.leave_to_sync()
            self._not_taken(mirror, error)

    def _read_awaited(self, mirror: LiveRun) -> None:
        """Read from MLflow the data of which the live feed says only that it has changed; leave it to `sync` if not."""
        try:
            read_awaited(mirror, functools.partial(self._mlflow.ask, mirror.run.tracking_uri))
        except ClearMLError:
            raise
        except Exception as error:  # MLflow's store raises what its driver raises
            mirror.go_on_undelivered()
            mirror.flush()
            mirror.leave_to_sync()
            self._not_taken(mirror, error)
        else:
            mirror.flush()
