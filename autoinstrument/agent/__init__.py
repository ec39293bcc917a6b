"""The agent in the training process: it tracks the process's runs and hands records to the sender.

It never imports clearml. It holds no lock while MLflow or the user's code runs, and waits for no network on the user's
threads.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from autoinstrument.agent.delivery_wait import DeliveryWait
from autoinstrument.agent.exit_cause import exiting
from autoinstrument.agent.process_console import ProcessConsole
from autoinstrument.agent.process_report import ProcessReport
from autoinstrument.agent.run_reports import RunReports
from autoinstrument.agent.run_start import RunStart
from autoinstrument.agent.task_adoption import TaskAdoption
from autoinstrument.agent.tracked_run import TrackedRun
from autoinstrument.agent.worker_access import WorkerAccess
from autoinstrument.bootstrap.explain_log import note
from autoinstrument.clearml_switches import switched_off
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mlflow_store.link_tags import LINK_TAGS
from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.records import EndAnnounced, Point, Record, RunAnnounced, RunEnded, RunsDelivered, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.transport.deferred_reads import Read
from autoinstrument.transport.deferred_records import Item
from autoinstrument.transport.sender import Sender

_WORKER_SHARE = 0.85
"""Share of the exit time-out in which the worker must deliver; the rest is for reporting that it did not."""
_LATE_S = 0.5
"""Seconds that a run's end may wait for the worker where it comes after `finish`."""
_ANNOUNCED = 2000
"""Characters of a traceback that are announced: an announcement is small, or it is not sent."""
_LOOK_S = 1.0
"""Seconds between two looks for another `sys.stdout`, where nothing else gives reason to look."""


class Agent:
    """The runs of the training process, and the way to their worker.

    Attributes:
        settings: as this process's environment has them.
        delivery: waits until what was logged so far is in ClearML.
        is_exiting: the interpreter runs its at-exit handlers.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_exiting = self._is_finished = False
        self._runs: dict[str, TrackedRun] = {}
        self._journals = RunJournals(settings)
        self._worker = WorkerAccess(settings.worker, marks_console=settings.console != "off")
        self._sender = Sender(self._worker.connect, self._introduce, self._answered, self._leave)
        self._reports = RunReports(self._runs, self._journals, self._sender, note=settings.note)
        self.delivery = DeliveryWait(self._sender.ask)
        self._adoption = TaskAdoption()
        self._process = ProcessReport()
        self._console = ProcessConsole(settings, self._written, self._sender.post)
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._forked)

    @property
    def has_begun(self) -> bool:
        """True once there is a run: until then an agent with other settings may take this one's place."""
        return bool(self._runs)

    def give_way(self) -> list[Item]:
        """Stop, because an agent with other settings takes the place of this one; return the console text so far."""
        self._console.detach()
        return self._sender.take_back()

    # Called by the wrappers of MLflow's functions

    def post(self, item: Item, run_id: str = "") -> None:
        """Hand a record over, with its run's id if it has no such field; costs an append."""
        self._console.look()
        if not self.is_left_alone(run_id or getattr(item, "run_id", "")):
            self._sender.post(item)

    def post_point(self, run_id: str, point: Point) -> bool:
        """Hand over one point with less work; return False if the run must be introduced, or `post` has to take it."""
        run = self._runs.get(run_id)
        if run is None or run.is_left_alone:
            return False
        self._console.look()
        return self._sender.post_point(run_id, point)

    def has_room(self, size: int) -> bool:
        """Return True if a file's content of `size` bytes may be posted (`DeferredFile`); else the worker reads it."""
        return self._sender.has_room(size)

    def post_soon(self, run_id: str, kind: str, read: Read) -> None:
        """Request a read of one kind of a run's data, soon and before the run's end; costs a dict entry."""
        self._sender.post_soon(run_id, kind, read)

    def knows(self, run_id: str) -> bool:
        """Return True if the run was started, resumed or seen in this process."""
        return run_id in self._runs

    def is_left_alone(self, run_id: str) -> bool:
        """Return True if it is known that the run gets no Task: its content need not be read."""
        run = self._runs.get(run_id)
        return run is not None and run.is_left_alone

    def workspace_of(self, run_id: str) -> str:
        """Return the workspace of a run that is known, "" where none was named."""
        return self._runs[run_id].workspace

    def tracking_uri_of(self, run_id: str) -> str:
        """Return the tracking URI of a run that is known; for the sending thread."""
        return self._runs[run_id].tracking_uri

    def artifact_root(self, run_id: str) -> str:
        """Return the root of a run's artifacts, "" where it is not known; for the sending thread."""
        return self._runs[run_id].artifact_root if run_id in self._runs else ""

    def is_open(self, run_id: str) -> bool:
        """Return True if the run is known and has not ended."""
        return run_id in self._runs and self._runs[run_id].is_open

    def latest_open_run(self) -> str:
        """Return the id of the latest run that this process has begun and not ended, "" for none."""
        return next((run.run_id for run in reversed(list(self._runs.values())) if run.is_open and run.is_owned), "")

    def run_started(
        self,
        run_id: str,
        make: Callable[[], RunStarted | None],
        *,
        tracking_uri: str,
        workspace: str,
        owned: bool = True,
        again: bool = False,
    ) -> None:
        """Note a run that was created, resumed or first seen; each start is reported once.

        Args:
            run_id: MLflow's id.
            make: returns the run's record, None if it is left alone; it asks the tracking store, on the sending thread.
            tracking_uri: where the run is.
            workspace: its workspace, "" where none is named.
            owned: this process ends the run.
            again: the run was resumed.
        """
        run = self._runs.get(run_id)
        if run is not None and (run.is_open or not again):
            return
        note("run", run_id)
        run = self._runs.setdefault(run_id, TrackedRun(run_id))
        run.begin(absolute(tracking_uri), workspace, owned=owned, resumed=again)
        self._console.follow()
        self._worker.note_run(run_id, may_be_shared=again or not owned)
        if not owned:
            self._sender.post_directly()
        off = switched_off()
        if self.settings.worker == "process":
            with guard("announcing a run"):
                self._sender.announce(RunAnnounced(run_id, run.tracking_uri, os.getpid(), owned, off, workspace))
                if owned:
                    self._worker.publish(run_id)
                self._worker.mark(owned=owned)
        known: dict[str, Any] = {"switched_off": off}
        if owned:
            with guard("finding a run's program"):  # now: the next one may have begun when the run is described
                known |= self._process.note_program()
        taken = partial(self._run_described, run, known)
        self._sender.post(RunStart(make, taken, partial(self._sender.post_soon, run_id, "start")))
        self._console.run_began(owned=owned)
        self._sender.post_soon("", "console", self._look, _LOOK_S)

    def _run_described(self, run: TrackedRun, known: dict[str, Any], record: RunStarted | None) -> RunStarted | None:
        """Note the tracking store's description of a run; return the record to send, with what is known besides."""
        if record is None:
            run.leave_alone()
            return None
        record = run.with_program(self._adoption.adopt(record._replace(**known)))
        run.describe(record._replace(task_id=""))
        if not record.resumed:
            record = record._replace(tags={key: tag for key, tag in record.tags.items() if key not in LINK_TAGS})
            if record.owned:
                with contextlib.suppress(OSError):  # the worker, which takes a second to start, may never get to it
                    self._journals.record(record, self._process.latest())
        return record

    def leave_alone(self, run_id: str) -> None:
        """Mirror nothing of a run from now on: another process will have it, and its Task is queued for that one."""
        self._runs.setdefault(run_id, TrackedRun(run_id)).leave_alone()

    def run_ended(self, ended: RunEnded) -> None:
        """Note the end of a run, and report the modules loaded since the last report."""
        if not self.is_open(ended.run_id):
            return
        self._runs[ended.run_id].end(ended)
        self._console.run_ends()
        self._look_for_task()  # now: ClearML's own at-exit handler forgets its Task
        if self.settings.worker == "process" and not ended.at_exit:  # then it is sent when `finish` returns
            with guard("announcing a run's end"):
                error = ended.error[-_ANNOUNCED:]
                self._sender.announce(EndAnnounced(ended.run_id, ended.status, ended.end_time_ms, error))
        self._sender.post_now(ended.run_id)
        self._sender.post(lambda: self._process.changes())
        self._sender.post(ended)
        if self._is_finished:  # after `finish` only where the agent was armed too late to stand behind MLflow's handler
            self._reports.go_on()
            self._sender.finish(exiting(_LATE_S))
            self._reports.end()

    def task_of(self, run_id: str) -> tuple[str, str] | None:
        """Return id and address of a run's Task, None while it is not known to have one."""
        run = self._runs.get(run_id)
        return run.task if run is not None else None

    # Console, and a Task of the script's own

    def _look(self) -> None:
        """Look now and then for a console that the script has replaced, while it logs nothing."""
        self._console.look()
        if any(run.is_open for run in list(self._runs.values())):
            self._sender.post_soon("", "console", self._look, _LOOK_S)

    def _written(self, stream: str, text: str) -> None:
        if self._adoption.is_expected and "clearml" in sys.modules:
            self._look_for_task()  # `Task.init` prints
        self._console.route(stream, text)

    def _look_for_task(self) -> None:
        if (found := self._adoption.look()) is not None:
            if run := self._runs.get(found.run_id):
                run.adopt(found)
            self._sender.post(found)

    # The worker

    def _introduce(self, attempt: int) -> list[Record]:
        """Return what a worker must know first: the process, and if it is not the first one, all undelivered runs."""
        self._worker.settle(self._sender.stops)
        self._worker.mark(owned=any(run.is_owned for run in list(self._runs.values())))
        records: list[Record] = [self._process.for_worker()]
        if attempt > 0:
            self._reports.worker_lost()
            for run in list(self._runs.values()):
                records += run.for_next_worker()
                if run.is_open and run.started and run.started.owned:
                    self._worker.publish(run.run_id)
        return records

    def _answered(self, record: Record) -> None:
        if isinstance(record, RunsDelivered):
            self.delivery.take(record)
        else:
            self._reports.take(record)

    def _forked(self) -> None:
        """Go on as a process that runs beside another one, which ends the runs so far."""
        self._console.forked()
        self._reports.forked()
        for run in self._runs.values():
            run.hand_over()
        if self._worker.is_lost_in_child:
            self._runs.clear()  # what is logged to them introduces them to a worker of this process's own

    # Exit

    def exiting(self) -> None:
        """Note that the interpreter is on its way out; runs before MLflow's own at-exit handler ends the open runs."""
        self.is_exiting = True
        with guard("looking for a Task"):
            self._look_for_task()

    def finish(self) -> None:
        """Wait for the worker to deliver the rest: `AUTOINSTRUMENT_EXIT_TIMEOUT` seconds at most, or until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt), guard("the end of the process"):
            self._is_finished = self._reports.is_exiting = True
            self._console.detach()
            timeout_s, goes_on = self.settings.exit_timeout_s, not self._worker.ends_with_process
            end, pending = time.monotonic() + timeout_s, list[TrackedRun]()
            if not self._sender.finish(exiting(timeout_s * _WORKER_SHARE)):
                late = f"not delivered to ClearML within {timeout_s:g} s"
                pending = self._reports.leave_late(late, self._sender.failure, goes_on=goes_on)
            self._reports.summarize()
            if pending:  # MLflow's client may try for minutes where its server is down
                self._sender.do_last(lambda: self._reports.tag_pending(pending), max(0.0, end - time.monotonic()))
            self._worker.clean_up()
        with contextlib.suppress(KeyboardInterrupt), guard("the end of the process"):
            self._reports.end()

    def _leave(self) -> None:
        """Report at once, here and in MLflow, that the runs which no worker takes are left to `sync`."""
        failure = self._sender.failure  # without one there is a worker, which reads what was only announced
        self._reports.tag_pending(self._reports.leave_known(failure or "no worker takes it", undescribed=bool(failure)))
