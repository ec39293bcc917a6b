"""Pass each record to the process or the run that it concerns, or keep it until its run is known."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from autoinstrument.capture.machine import machine
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.mapping.run_status import End, is_interruption, of_run
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.process_identity import created_ms
from autoinstrument.records import (
    ConsoleAwaited,
    ConsoleWritten,
    DeliveryAwaited,
    EndAnnounced,
    EventsDropped,
    ProcessChanged,
    ProcessExiting,
    ProcessJoined,
    ProcessStarted,
    Record,
    RunAnnounced,
    RunEnded,
    RunStarted,
    RunTagged,
    TaskFound,
    TracesChanged,
)
from autoinstrument.settings import Settings
from autoinstrument.transport.budget import DROPPABLE, content_weight, items, weight
from autoinstrument.worker.capture_thread import PATIENCE_S
from autoinstrument.worker.console_router import ConsoleRouter
from autoinstrument.worker.early_records import EarlyRecords
from autoinstrument.worker.jobs import Aside
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.process_end import ProcessEnd
from autoinstrument.worker.receiver import ConnectionClosed
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess

_OTHERS_S = 15.0
"""How long the process that began a run has to make the Task."""
_URGENT = (ConnectionClosed, DeliveryAwaited, ProcessExiting, RunStarted, RunEnded, TaskFound)


class Dispatcher:
    """Handles records; it waits for no server, and for nothing that takes long.

    Attributes:
        registry: the processes and runs.
        process_end: ends the runs of processes that are gone.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        tasks: Tasks,
        uploads: Uploads,
        scheduler: Scheduler,
        mlflow_access: MLflowAccess,
        aside: Aside,
    ) -> None:
        """`folder` is the one that the worker shares with the training processes."""
        self.registry = RunRegistry()
        self._waiting = 0
        """Bytes that wait for the server by the last `weigh`, with those of each record since then."""
        self._settings = settings
        self._started_ms = created_ms(os.getpid())
        self._journals = RunJournals(settings)
        self._tasks, self._uploads = tasks, uploads
        self._scheduler, self._mlflow, self._aside = scheduler, mlflow_access, aside
        self._early = EarlyRecords()
        self._console = ConsoleRouter(self.registry, self._early)
        self.process_end = ProcessEnd(
            folder, self.registry, self._console, tasks, scheduler, mlflow_access, aside, self._run_started
        )

    def handle(self, process: TrainingProcess, record: Record | ConnectionClosed) -> bool:
        """Handle a record; return True if the work that follows from it is urgent."""
        with guard(f"handling {type(record).__name__}"):
            self._HANDLERS.get(type(record), Dispatcher._logged)(self, process, record)
        return isinstance(record, _URGENT)

    def note_dropped(self, dropped: EventsDropped) -> None:
        """Note that data of a run was dropped, because there was no room."""
        if mirror := self.registry.mirrors.get(dropped.run_id):
            mirror.do(partial(mirror.take, dropped))
        else:
            self._early.drop(dropped.run_id)

    def weigh(self) -> None:
        """Sum up the bytes that wait for the server."""
        self._waiting = sum(mirror.weight for mirror in self.registry.mirrors.values())

    def forget(self, process: TrainingProcess) -> list[LiveRun]:
        """Drop a process that is gone, and what waits of it; see `RunRegistry.forget`."""
        self._early.forget(process)
        self._console.forget(process)
        self.process_end.forget(process)
        for other in self.registry.processes:
            if self.registry.parent_of(other) is process:  # the worker does not stay for it
                other.hang_up()
        return self.registry.forget(process)

    def take_captured(self, process: TrainingProcess) -> bool:
        """Describe a process's runs if its code and packages are known now, or were waited for long enough.

        Returns:
            True if delivery is urgent: a Task can be made that could not be made before, or the process waits for this.
        """
        is_urgent = False
        is_new, now = process.description.news, time.monotonic()
        for mirror in self.registry.described_by(process):
            describe_at = mirror.gate.describe_at
            is_first = describe_at is not None
            if describe_at is not None and not is_new and now >= describe_at:
                process.description.do_without_git(mirror.run)
            elif not (is_new and (is_first or mirror.run.run_id in process.owned)):
                continue
            is_urgent = is_urgent or is_first
            mirror.gate.note_described()
            mirror.do(partial(self._describe_again, process, mirror))
        if is_new:  # only now: a run that is away may find itself complete at any moment
            process.description.note_described(is_new)
            is_urgent = is_urgent or process.waits.any_open
        return is_urgent

    def _describe_again(self, process: TrainingProcess, mirror: LiveRun) -> None:
        if not mirror.is_closed:
            with guard("describing a run"):
                self._describe(process, mirror.journal)
                mirror.describe_again()

    def _process_started(self, process: TrainingProcess, started: ProcessStarted) -> None:
        process.start(started)
        self._scheduler.process_began()

    def _process_changed(self, process: TrainingProcess, changed: ProcessChanged) -> None:
        """Describe the process's open runs again if it has loaded other packages, parsed arguments, or run cells."""
        if process.description.change(changed):
            for mirror in self.registry.described_by(process, only_open=True):
                mirror.do(partial(self._describe_again, process, mirror))

    def _describe(self, process: TrainingProcess, journal: RunJournal, *, program: bool = True) -> None:
        if program:
            known = process.description
            journal.process = known.started and journal.run.program_of(known.started)
            journal.script = known.script_of(journal.run)
            packages = known.packages
            journal.requirements, journal.freeze, journal.conda = packages.requirements, packages.freeze, packages.conda
            journal.runtime = known.specs or journal.runtime
            journal.variables = known.variables
        journal.worker_pid, journal.worker_started_ms, journal.machine = os.getpid(), self._started_ms, machine()
        with guard("writing the journal"):
            journal.save()

    def _run_started(self, process: TrainingProcess, run: RunStarted) -> None:
        process.description.capture(run)
        process.note_described(run.run_id)
        mirror = self.registry.mirrors.get(run.run_id)
        is_program = run.owned and not run.begun_elsewhere and run.run_id not in process.described
        if mirror is None:
            journal = self._journals.of(run, process.started)
            is_program = not (run.begun_elsewhere and journal.script)
            self._describe(process, journal, program=is_program)
            mirror = LiveRun(
                journal, self._settings, self._tasks, self._uploads,
                is_capturing=lambda: self.registry.home[run.run_id].description.is_capturing,
                parent_task=partial(self._task_of, run.parent_run_id) if run.parent_run_id else str,
                wait_s=0.0 if run.owned else _OTHERS_S,
            )  # fmt: skip
            self.registry.add(process, mirror)
            if is_program and process.description.is_capturing:
                mirror.gate.wait_for_description(time.monotonic() + PATIENCE_S)
        elif run.owned:
            mirror.do(partial(self._resume, process, mirror, run, is_program=is_program))
        self.registry.began(process, run.run_id, owned=run.owned)
        if is_program:
            self.registry.describes(process, run.run_id)
        self._console.run_began(process, run)
        if self._early.take_lost(run.run_id):
            mirror.do(mirror.note_incomplete)
        for other, record in self._early.take():
            self._HANDLERS.get(type(record), Dispatcher._logged)(self, other, record)  # other runs' go on waiting

    def _resume(self, process: TrainingProcess, mirror: LiveRun, run: RunStarted, *, is_program: bool) -> None:
        mirror.reopen(run)
        if is_program:
            self._describe_again(process, mirror)

    def _logged(self, process: TrainingProcess, record: Any) -> None:
        """Give a record to its run's mirror, or keep it until the run is known."""
        mirror = self.registry.mirrors.get(record.run_id)
        if mirror is None:
            self._early.add(process, record)
            return
        process.log_to(record.run_id)
        if mirror.run.switched_off:
            return  # `sync` reads it from MLflow
        if isinstance(record, DROPPABLE) and self.registry.is_full_for(mirror, self._waiting):
            record = EventsDropped(record.run_id, items(record))
        size = weight(record)
        mirror.do(partial(mirror.take, record), size + content_weight(record))
        self._waiting += size

    def _task_of(self, run_id: str) -> str:
        """Return the id of a run's Task, also of a run that another process has begun; "" while there is none."""
        mirror = self.registry.mirrors.get(run_id)
        if mirror is None:
            return self._tasks.of_run(run_id)
        return mirror.task.id if mirror.task is not None else ""

    def _traces_changed(self, process: TrainingProcess, changed: TracesChanged) -> None:
        """Load MLflow's client before the run ends: its process waits then until the traces are read."""
        self._logged(process, changed)
        if mirror := self.registry.mirrors.get(changed.run_id):
            self._aside(partial(self._mlflow.prepare, mirror.run.tracking_uri), bool)

    def _console_written(self, process: TrainingProcess, written: ConsoleWritten) -> None:
        self._console.write(process, written)

    def _task_found(self, process: TrainingProcess, found: TaskFound) -> None:
        if (mirror := self.registry.mirrors.get(found.run_id)) is not None:
            mirror.do(partial(mirror.adopt, found))

    def _run_ended(self, process: TrainingProcess, ended: RunEnded) -> None:
        mirror = self.registry.mirrors.get(ended.run_id)
        if mirror is None:
            self._early.add(process, ended)
            return
        process.exit.note_end(ended)
        mirror.do(partial(mirror.note_end_time, ended.end_time_ms))
        self.registry.left(process, ended.run_id)
        self._console.run_ended(process, ended.run_id)
        if ended.at_exit and process.exit.exiting is None:
            return  # the reason why the process ends is about to arrive
        self._end(mirror, ended, of_run(ended, process.exit.exiting), interrupted=is_interruption(ended.error))

    def _end(self, mirror: LiveRun, ended: RunEnded, end: End, *, interrupted: bool) -> None:
        # An interruption may have come after a call had written to MLflow, and before its record was sent.
        if interrupted:
            mirror.do(mirror.note_incomplete)
        goes_on = ended.run_id in self.registry.open  # another owner is at work
        mirror.do(partial(mirror.status.note_end if goes_on else mirror.end_as, end, ended_ms=ended.end_time_ms))

    def _process_exiting(self, process: TrainingProcess, exiting: ProcessExiting) -> None:
        process.exit.note_exiting(exiting)
        process.waits.begin_exit()
        for run_id, ended in process.exit.at_exit.items():
            self._end(self.registry.mirrors[run_id], ended, of_run(ended, exiting), interrupted=exiting.interrupted)
        self._console.leave(process)
        for run_id in process.owned:
            mirror = self.registry.mirrors[run_id]
            mirror.do(mirror.console.finish)
        for mirror in self.registry.left_by(process):
            mirror.do(mirror.leave)
        self.process_end.exiting(process)
        self.process_end.try_once_more(process)

    def _delivery_awaited(self, process: TrainingProcess, awaited: DeliveryAwaited) -> None:
        process.waits.begin(awaited, process.runs)

    def _run_tagged(self, process: TrainingProcess, tagged: RunTagged) -> None:
        if (mirror := self.registry.mirrors.get(tagged.run_id)) is not None:
            mirror.do(partial(self._note_tagged, mirror))

    @staticmethod
    def _note_tagged(mirror: LiveRun) -> None:
        if mirror.journal.delivered:  # else the run was resumed in the meantime
            mirror.note_tagged()

    _HANDLERS: ClassVar[dict[type, Callable[[Dispatcher, TrainingProcess, Any], None]]] = {
        ConnectionClosed: lambda dispatcher, process, _: dispatcher.process_end.begin(process),
        ConsoleAwaited: lambda dispatcher, process, _: dispatcher._console.catch_up(process),
        ConsoleWritten: _console_written,
        DeliveryAwaited: _delivery_awaited,
        EndAnnounced: lambda _, process, announced: process.exit.announce(announced),
        ProcessChanged: _process_changed,
        ProcessExiting: _process_exiting,
        ProcessJoined: lambda _, process, joined: process.join(joined),
        ProcessStarted: _process_started,
        RunAnnounced: lambda _, process, announced: process.announce(announced),
        RunEnded: _run_ended,
        RunStarted: _run_started,
        RunTagged: _run_tagged,
        TaskFound: _task_found,
        TracesChanged: _traces_changed,
    }
