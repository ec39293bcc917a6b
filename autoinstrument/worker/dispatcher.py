"""The connected processes, their runs, and what the records of the one say of the other."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from autoinstrument.capture.machine import machine
from autoinstrument.capture.process import is_launcher
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.clone_run.start import task_of_agent
from autoinstrument.guard import guard
from autoinstrument.journal.run_journal import Capture, Captures
from autoinstrument.mirror.mapping.run_status import End, is_interruption, of_exit_code, of_run
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.records import (
    ConsoleWritten,
    EndAnnounced,
    EventsDropped,
    ProcessChanged,
    ProcessExiting,
    ProcessStarted,
    Record,
    RunAnnounced,
    RunEnded,
    RunStarted,
    RunTagged,
    TaskFound,
)
from autoinstrument.settings import Settings
from autoinstrument.transport import exit_status
from autoinstrument.transport.record_size import DROPPABLE, items, weight
from autoinstrument.worker.agent_task import AgentTaskOutcome
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.receiver import ConnectionClosed
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.training_process import TrainingProcess

_EARLY = _EARLY_CONSOLE = 10_000
_OTHERS_S = 15.0
"""How long the process that began a run is given to make the Task."""
_MAX_WAITING, _MAX_EARLY = 64 * 2**20, 8 * 2**20
"""Bytes of all runs that wait for the server, and of what was said of runs that are not known yet."""


class Dispatcher:
    """What the worker knows of processes and runs; it talks to ClearML through the runs' mirrors alone.

    Attributes:
        processes: those that are connected, and those that are gone and have runs that are not delivered.
        mirrors: by run id.
        home: the process that is told of a run, by run id.
        open: runs that have not ended, in the order of their beginning.
        waiting: bytes that wait for the server.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        tasks: Tasks,
        uploads: Uploads,
        scheduler: Scheduler,
        mlflow_access: MLflowAccess,
    ) -> None:
        self.processes: list[TrainingProcess] = []
        self.mirrors: dict[str, LiveRun] = {}
        self.home: dict[str, TrainingProcess] = {}
        self.open: dict[str, None] = {}
        self.waiting = 0
        self._folder = folder
        self._settings = settings
        self._captures = Captures(settings)
        self._tasks, self._uploads, self._scheduler, self._mlflow = tasks, uploads, scheduler, mlflow_access
        self._early: list[tuple[TrainingProcess, Any]] = []
        """What children have said of runs that their parents are still describing."""
        self._early_weight = 0
        """Bytes of that, and of text before a first run."""
        self._early_lost: set[str] = set()
        """Runs of which something was left out that came before they were known."""
        self._quiet: set[str] = set()
        """Runs that have ended while a request was under way: console text is theirs no more."""

    def handle(self, process: TrainingProcess, record: Record | ConnectionClosed) -> bool:
        """Take in what a process says; tell whether somebody waits for what follows from it."""
        handler = self._HANDLERS.get(type(record))
        with guard(f"handling {type(record).__name__}"):
            if handler is not None:
                handler(self, process, record)
            else:
                self._logged(process, record)
        return isinstance(record, (ConnectionClosed, ProcessExiting, RunStarted, RunEnded, TaskFound))

    def handle_console(self, process: TrainingProcess, record: Record | ConnectionClosed) -> bool:
        """Take in console text while a request is under way, ahead of what came before it; tell whether it was that.

        Text overtakes everything else, and so does what says whose it is: a process, a new run. A run's end is handled
        when its turn comes; text that comes after it is no longer the run's, as always.
        """
        if isinstance(record, RunEnded):
            self._quiet.add(record.run_id)
            process.last_run = record.run_id
        elif isinstance(record, RunStarted) and record.run_id in self.mirrors:
            self._quiet.discard(record.run_id)
            self._give_early(process, record)
        elif isinstance(record, (ConsoleWritten, ProcessStarted, RunAnnounced, RunStarted)):
            self.handle(process, record)
            return True
        return False

    def note_dropped(self, dropped: EventsDropped) -> None:
        """Note that data of a run was left out, for lack of room."""
        if dropped.run_id in self.mirrors:
            self.mirrors[dropped.run_id].take(dropped)
        else:
            self._lose(dropped)

    def forget(self, process: TrainingProcess) -> list[LiveRun]:
        """Drop a process that is gone; return the mirrors of runs that nobody else has spoken of, dropped with it."""
        self.processes.remove(process)
        process.connection.close()
        dropped = []
        for run_id in process.runs:
            if not any(run_id in other.runs for other in self.processes):
                self.home.pop(run_id, None)
                if mirror := self.mirrors.pop(run_id, None):
                    dropped.append(mirror)
        return dropped

    def _process_started(self, process: TrainingProcess, started: ProcessStarted) -> None:
        process.start(started)

    def _run_announced(self, process: TrainingProcess, announced: RunAnnounced) -> None:
        process.announce(announced)

    def _process_changed(self, process: TrainingProcess, changed: ProcessChanged) -> None:
        """Describe the process's open runs again if it has loaded other packages, parsed arguments, or run cells."""
        if process.change(changed):
            for run_id in self.open:
                if run_id in process.owned:
                    self._describe(process, self.mirrors[run_id].capture)
                    self.mirrors[run_id].describe_again()

    def take_captured(self) -> None:
        """Describe the runs again of processes whose code and packages could not be waited for when they began."""
        for process in self.processes:
            if process.has_captured():
                for run_id in process.owned:
                    mirror = self.mirrors[run_id]
                    if self.home[run_id] is process and not mirror.is_closed:
                        with guard("describing a run"):
                            self._describe(process, mirror.capture)
                            mirror.describe_again()

    def _describe(self, process: TrainingProcess, capture: Capture) -> None:
        capture.process = process.started and capture.run.program_of(process.started)
        capture.script = process.script_of(capture.run)
        capture.requirements, capture.freeze = process.packages.requirements, process.packages.freeze
        capture.worker_pid, capture.machine = os.getpid(), machine()
        with guard("writing the capture"):
            capture.save()

    def _run_started(self, process: TrainingProcess, run: RunStarted) -> None:
        process.capture(run)
        process.announced.pop(run.run_id, None)
        process.runs.add(run.run_id)
        mirror = self.mirrors.get(run.run_id)
        if mirror is None:
            capture = self._captures.of(run, process.started)
            self._describe(process, capture)
            mirror = LiveRun(
                capture, self._settings, self._tasks, self._uploads,
                is_capturing=lambda: self.home[run.run_id].is_capturing,
                parent_task=functools.partial(self._task_of, run.parent_run_id) if run.parent_run_id else str,
                wait_s=0.0 if run.owned else _OTHERS_S,
            )  # fmt: skip
            self.mirrors[run.run_id] = mirror
        elif run.owned:
            mirror.reopen(run)
            began = mirror.capture.process
            if began is not None and is_launcher(began.main_path, began.main_module):
                self._describe(process, mirror.capture)
                mirror.describe_again()
        if run.owned:
            process.owned.add(run.run_id)
            process.ended_at_exit.pop(run.run_id, None)
            self.open[run.run_id] = None
        if run.owned or run.run_id not in self.home:
            self.home[run.run_id] = process
        self._give_early(process, run)
        if run.run_id in self._early_lost:
            mirror.note_incomplete()
        self._early_lost.discard(run.run_id)
        early, self._early = self._early, []
        self._early_weight -= sum(weight(record) for _, record in early)
        for other, record in early:
            self._HANDLERS.get(type(record), Dispatcher._logged)(self, other, record)  # other runs' go on waiting

    def _logged(self, process: TrainingProcess, record: Any) -> None:
        """Give a record to its run; what comes before the run's own record waits for that."""
        mirror = self.mirrors.get(record.run_id)
        if mirror is not None:
            process.runs.add(record.run_id)
            if mirror.run.switched_off:
                return  # `sync` reads it from MLflow
            if isinstance(record, DROPPABLE):
                if self.waiting >= _MAX_WAITING:
                    record = EventsDropped(record.run_id, items(record))
                self.waiting += weight(record)
            mirror.take(record)
        elif len(self._early) < _EARLY and self._early_weight < _MAX_EARLY:
            self._early.append((process, record))
            self._early_weight += weight(record)
        else:
            self._lose(record)

    def _lose(self, record: Any) -> None:
        """Note that something was left out of a run that is not known yet: MLflow has it."""
        if len(self._early_lost) < _EARLY:
            self._early_lost.add(record.run_id)

    def _task_of(self, run_id: str) -> str:
        """Return the id of a run's Task, also of a run that another process has begun; "" where there is none yet."""
        mirror = self.mirrors.get(run_id)
        if mirror is None:
            return self._tasks.of_run(run_id)
        return mirror.task.id if mirror.task is not None else ""

    def _console_written(self, process: TrainingProcess, written: ConsoleWritten) -> None:
        """Give text to the process's open runs.

        Where none is open it announces the next run ("starting job 1"), and waits for that; when the process ends, or
        there is too much of it, it belongs to the run before.
        """
        runs = [run_id for run_id in self.open if run_id in process.runs and run_id not in self._quiet]
        for run_id in runs:
            self.mirrors[run_id].console.write(*written)
        if runs:
            return
        if len(process.early_console) >= _EARLY_CONSOLE or self._early_weight >= _MAX_EARLY:
            self._leave_early(process)
            if process.early_console:  # there was no run before
                return
        process.early_console.append(written)
        self._early_weight += weight(written)

    def _give_early(self, process: TrainingProcess, run: RunStarted) -> None:
        """Give text that waited for a run of the process's to this one, which has begun."""
        if run.owned or not process.last_run:
            self._write_early(process, self.mirrors[run.run_id])

    def _leave_early(self, process: TrainingProcess) -> None:
        """Give text that waited for a run to the one that ended last, for no other is expected."""
        if process.last_run in self.mirrors:
            self._write_early(process, self.mirrors[process.last_run])

    def _write_early(self, process: TrainingProcess, mirror: LiveRun) -> None:
        for written in process.early_console:
            mirror.console.write(*written)
            self._early_weight -= weight(written)
        process.early_console.clear()

    def _task_found(self, process: TrainingProcess, found: TaskFound) -> None:
        mirror = self.mirrors.get(found.run_id)
        if mirror is not None:
            mirror.adopt(found.task_id)

    def _run_ended(self, process: TrainingProcess, ended: RunEnded) -> None:
        mirror = self.mirrors.get(ended.run_id)
        if mirror is None:
            self._logged(process, ended)
            return
        process.told_end(ended)
        mirror.note_end_time(ended.end_time_ms)
        self.open.pop(ended.run_id, None)
        self._quiet.discard(ended.run_id)
        process.last_run = ended.run_id
        if ended.at_exit:
            process.ended_at_exit[ended.run_id] = ended
            if process.exiting is None:
                return  # what ended the process is about to be said
        self._end(mirror, of_run(ended, process.exiting), interrupted=is_interruption(ended.error))

    def _end(self, mirror: LiveRun, end: End, *, interrupted: bool) -> None:
        # An interruption may have hit between a call's writing to MLflow and our hearing of it.
        if interrupted:
            mirror.note_incomplete()
        mirror.end_as(end)

    def _process_exiting(self, process: TrainingProcess, exiting: ProcessExiting) -> None:
        process.exiting, process.answered = exiting, False
        for run_id, ended in process.ended_at_exit.items():
            self._end(self.mirrors[run_id], of_run(ended, exiting), interrupted=exiting.interrupted)
        self._leave_early(process)
        for run_id in process.owned:
            self.mirrors[run_id].console.finish()
        self._try_once_more(process)

    def _end_announced(self, process: TrainingProcess, announced: EndAnnounced) -> None:
        process.announce_end(announced)

    def _run_tagged(self, process: TrainingProcess, tagged: RunTagged) -> None:
        mirror = self.mirrors.get(tagged.run_id)
        if mirror is not None and mirror.capture.delivered:  # else the run was resumed in the meantime
            mirror.note_tagged()

    def _closed(self, process: TrainingProcess, closed: ConnectionClosed) -> None:
        process.gone_at = time.monotonic()
        if process.outlives:
            self._leave_early(process)
            for run_id in process.owned:
                self.open.pop(run_id, None)
            return
        code = exit_status.read(self._folder, process.pid) if process.exiting is not None else None
        for announced in list(process.announced.values()):
            with guard("finding a run whose process died at once"):
                self._died_at_once(process, announced)
        self._leave_early(process)
        left_open = []
        for run_id in process.owned:
            mirror = self.mirrors[run_id]
            mirror.console.finish()
            if any(run_id in other.owned for other in self.processes if other.gone_at is None):
                continue  # the run was handed over, and goes on
            if run_id in self.open or mirror.end is None:  # of an end at exit the cause may not have been heard
                self.open.pop(run_id, None)
                mirror.capture.killed = mirror.capture.killed or bool(process.aborted)
                end = process.reported_end(run_id, code)
                mirror.end_as(end or process.guessed_end(), guessed=end is None)
                mirror.note_incomplete()  # what the process had not sent yet is read from MLflow
                left_open.append(mirror)
            elif code and run_id in process.ended_at_exit and mirror.end and mirror.end.status == "completed":
                mirror.end_as(of_exit_code(code))
            mirror.console.finish()  # again, with the traceback of the end that is known now
        self._ask_for_verdict(process, left_open)
        self._prepare_way_back(process)
        self._try_once_more(process)

    def _prepare_way_back(self, process: TrainingProcess) -> None:
        """Load MLflow where the worker will need it for a run of a process that is gone."""
        if self._scheduler.has_hope():
            left = [self.mirrors[run_id] for run_id in process.runs if self.home[run_id] is process]
            for uri in {mirror.run.tracking_uri for mirror in left if mirror.end is not None and not mirror.is_linked}:
                self._mlflow.prepare(uri)

    def _try_once_more(self, process: TrainingProcess) -> None:
        self._scheduler.try_once_more()
        for run_id in process.runs:
            self.mirrors[run_id].server.try_once_more()

    def _ask_for_verdict(self, process: TrainingProcess, left_open: list[LiveRun]) -> None:
        """Have ClearML asked how the process's Task ended, where that is not the worker's to say, and not said yet."""
        owned = map(self.mirrors.__getitem__, process.owned)
        adopted = [mirror for mirror in owned if mirror.capture.adopted and not mirror.run.switched_off]
        left_open = [mirror for mirror in left_open if not mirror.run.switched_off]
        agent_is_gone = process.agent is not None and not process.agent.is_alive()
        task_id = adopted[-1].capture.task_id if adopted else task_of_agent() if process.agent else ""
        if task_id and (left_open or agent_is_gone):
            end = (adopted or left_open)[-1].end if adopted or left_open else None
            end = end or End("stopped", "the agent that ran the Task was killed", "")
            process.verdict = AgentTaskOutcome(task_id, left_open, end, process.agent, self._tasks)

    def _died_at_once(self, process: TrainingProcess, announced: RunAnnounced) -> None:
        """Take in a run of which the process had no time to say more than that it exists."""
        if announced.owned:
            uri, run_id = announced.tracking_uri, announced.run_id
            run: RunStarted = self._mlflow.ask(uri, lambda: open_run(uri, run_id)).run
            self._run_started(process, run._replace(owned=True, switched_off=announced.switched_off))
        elif announced.run_id in self.mirrors:
            self.mirrors[announced.run_id].note_incomplete()

    _HANDLERS: ClassVar[dict[type, Callable[[Dispatcher, TrainingProcess, Any], None]]] = {
        ConnectionClosed: _closed,
        ConsoleWritten: _console_written,
        EndAnnounced: _end_announced,
        ProcessChanged: _process_changed,
        ProcessExiting: _process_exiting,
        ProcessStarted: _process_started,
        RunAnnounced: _run_announced,
        RunEnded: _run_ended,
        RunStarted: _run_started,
        RunTagged: _run_tagged,
        TaskFound: _task_found,
    }
