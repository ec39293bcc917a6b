"""The worker: takes records from the training process and its children, and keeps their runs' Tasks up to date.

One thread a connection reads (`mirror.inbox`); one thread does everything else: capture, disk, ClearML
(`mirror.delivery`). The process ends when nobody is connected and nothing is left to do.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import logging.handlers
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from autoinstrument.capture.machine import machine
from autoinstrument.capture.secrets import hide_in_text
from autoinstrument.from_mlflow.store import read_run
from autoinstrument.guard import guard, ourselves
from autoinstrument.mirror.captures import Capture, Captures, home, private_folder
from autoinstrument.mirror.completion import link
from autoinstrument.mirror.delivery import Delivery
from autoinstrument.mirror.ending import End, is_interruption, of_exit_code, of_run
from autoinstrument.mirror.inbox import Closed, Inbox
from autoinstrument.mirror.liveness import BEAT_S, beat
from autoinstrument.mirror.process import Process
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mirror.verdict import Verdict
from autoinstrument.mirror.watch import Watch, end_killed
from autoinstrument.records import (
    ConsoleWritten,
    Delivered,
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
from autoinstrument.settings import Settings, read_settings
from autoinstrument.to_clearml.errors import ClearMLError
from autoinstrument.to_clearml.files import Files
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks
from autoinstrument.transport import exit_code
from autoinstrument.transport.weight import DROPPABLE, items, weight
from autoinstrument.under_agent import task_of_agent

_FLUSH_S = 2.0
_IDLE_S = 30.0
_EARLY = _EARLY_CONSOLE = 10_000
_OTHERS_S = 15.0
"""How long the process that began a run is given to make the Task."""
_MAX_WAITING, _MAX_EARLY = 64 * 2**20, 8 * 2**20
"""Bytes of all runs that wait for the server, and of what was said of runs that are not known yet."""
_TAKE = 5000
_LINGER_S = 60.0
"""How long the worker tries to deliver after the training process is gone."""


class Worker:
    """The state of all connected processes and their runs."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._inbox = Inbox()
        self._processes: list[Process] = []
        self._captures = Captures(settings)
        session = Session(self._keep_console)
        self._tasks, self._uploads = Tasks(session), Uploads(Files(session))
        self._delivery, self._watch = Delivery(self._uploads), Watch(self._tasks)
        self._mirrors: dict[str, RunMirror] = {}
        self._home: dict[str, Process] = {}
        """The process that is told of a run, by run id."""
        self._open: dict[str, None] = {}
        """Runs that have not ended, in the order of their beginning."""
        self._early: list[tuple[Process, Any]] = []
        """What children have said of runs that their parents are still describing."""
        self._flush_at = self._beat_at = 0.0
        self._waiting = self._early_weight = 0
        """Bytes that wait for the server, and those of `_early` and of text before a first run."""
        self._quiet: set[str] = set()
        """Runs that have ended while a request was under way: console text is theirs no more."""
        self._seen = False
        self._since = time.monotonic()

    # Connections

    def listen(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.add(connection)

    def add(self, connection: socket.socket) -> None:
        """Take in a connection and read it on a thread of its own."""
        connection.setblocking(True)
        process = Process(connection)
        self._processes.append(process)
        self._seen = True
        threading.Thread(target=self._inbox.read, args=(process,), daemon=True).start()

    # The loop

    def run(self) -> None:
        """Work until nobody is connected any more, and what they left is delivered or given up."""
        while self._processes or (not self._seen and time.monotonic() - self._since < _IDLE_S):
            urgent = self._take()
            now = time.monotonic()
            if urgent or now >= self._flush_at:
                self._flush_at = now + _FLUSH_S
                self._deliver_all()
                self._answer()
                self._forget()
            if now >= self._beat_at:
                self._beat_at = now + BEAT_S
                self._beat()

    def _beat(self) -> None:
        """Show those who look at the captures from another machine that runs are being worked on."""
        for mirror in self._mirrors.values():
            # The folder is gone where the Task is complete.
            with guard("leaving a heartbeat"), contextlib.suppress(FileNotFoundError):
                beat(mirror.capture)

    def _take(self) -> bool:
        """Take in what has arrived, waiting for it until the next flush is due; tell whether it cannot wait longer."""
        urgent = False
        for process, record in self._inbox.take(max(0.01, self._flush_at - time.monotonic()), _TAKE):
            urgent = self._handle(process, record) or urgent
        for dropped in self._inbox.dropped():
            if dropped.run_id in self._mirrors:
                self._mirrors[dropped.run_id].take(dropped)
        return urgent

    def _handle(self, process: Process, record: Record | Closed) -> bool:
        self._since = time.monotonic()
        handler = self._HANDLERS.get(type(record))
        with guard(f"handling {type(record).__name__}"):
            if handler is not None:
                handler(self, process, record)
            else:
                self._logged(process, record)
        return isinstance(record, (Closed, ProcessExiting, RunStarted, RunEnded, TaskFound))

    def _keep_console(self) -> None:
        """Put console text on disk while a request is under way, which may be for half a minute where the server hangs.

        Text overtakes everything else, and so does what says whose it is: a process, a new run. A run's end is handled
        when its turn comes; text that comes after it is that of the runs that are still open, else of the one that has
        ended last, as always.
        """

        def handled(process: Process, record: Record | Closed) -> bool:
            if isinstance(record, RunEnded):
                self._quiet.add(record.run_id)
                process.last_run = record.run_id
            elif isinstance(record, RunStarted) and record.run_id in self._mirrors:
                self._quiet.discard(record.run_id)
            elif isinstance(record, (ConsoleWritten, ProcessStarted, RunAnnounced, RunStarted)):
                self._handle(process, record)
                return True
            return False

        self._inbox.overtake(handled)

    # Records

    def _process_started(self, process: Process, started: ProcessStarted) -> None:
        process.start(started)

    def _run_announced(self, process: Process, announced: RunAnnounced) -> None:
        process.announce(announced)

    def _process_changed(self, process: Process, changed: ProcessChanged) -> None:
        """Describe the process's open runs again if it has loaded other packages, parsed arguments, or run cells."""
        if process.change(changed):
            for run_id in self._open:
                if run_id in process.owned:
                    self._describe(process, self._mirrors[run_id].capture)
                    self._mirrors[run_id].describe_again()

    def _describe(self, process: Process, capture: Capture) -> None:
        capture.process = process.started
        capture.script = process.script
        capture.requirements, capture.freeze = process.packages.requirements, process.packages.freeze
        capture.worker_pid, capture.machine = os.getpid(), machine()
        with guard("writing the capture"):
            capture.save()

    def _run_started(self, process: Process, run: RunStarted) -> None:
        process.capture()
        process.announced.pop(run.run_id, None)
        process.runs.add(run.run_id)
        mirror = self._mirrors.get(run.run_id)
        if mirror is None:
            capture = self._captures.of(run, process.started)
            self._describe(process, capture)
            mirror = RunMirror(capture, self._settings, self._tasks, self._uploads)
            mirror.parent_task = functools.partial(self._task_of, run.parent_run_id)
            mirror.wait_until = 0.0 if run.owned else time.monotonic() + _OTHERS_S
            self._mirrors[run.run_id] = mirror
        elif run.owned:
            mirror.reopen(run)
        if run.owned:
            process.owned.add(run.run_id)
            process.ended_at_exit.pop(run.run_id, None)
            self._open[run.run_id] = None
        if run.owned or run.run_id not in self._home:
            self._home[run.run_id] = process
        for written in process.early_console:
            mirror.console.write(*written)
        process.early_console.clear()
        early, self._early, self._early_weight = self._early, [], 0
        for other, record in early:
            self._logged(other, record)  # what is not this run's goes on waiting

    def _logged(self, process: Process, record: Any) -> None:
        """Give a record to its run; what comes before the run's own record waits for that."""
        mirror = self._mirrors.get(record.run_id)
        if mirror is not None:
            process.runs.add(record.run_id)
            if isinstance(record, DROPPABLE):
                if self._waiting >= _MAX_WAITING:
                    record = EventsDropped(record.run_id, items(record))
                self._waiting += weight(record)
            mirror.take(record)
        elif len(self._early) < _EARLY and self._early_weight < _MAX_EARLY:
            self._early.append((process, record))
            self._early_weight += weight(record)

    def _task_of(self, run_id: str) -> str:
        mirror = self._mirrors.get(run_id)
        return mirror.task.id if mirror is not None and mirror.task is not None else ""

    def _console_written(self, process: Process, written: ConsoleWritten) -> None:
        """Give text to the process's open runs; between two runs to the one before, before the first one to that."""
        runs = [run_id for run_id in self._open if run_id in process.runs and run_id not in self._quiet]
        runs = runs or ([process.last_run] if process.last_run in self._mirrors else [])
        for run_id in runs:
            self._mirrors[run_id].console.write(*written)
        if not runs and len(process.early_console) < _EARLY_CONSOLE and self._early_weight < _MAX_EARLY:
            process.early_console.append(written)
            self._early_weight += weight(written)

    def _task_found(self, process: Process, found: TaskFound) -> None:
        mirror = self._mirrors.get(found.run_id)
        if mirror is not None:
            mirror.adopt(found.task_id)

    def _run_ended(self, process: Process, ended: RunEnded) -> None:
        mirror = self._mirrors.get(ended.run_id)
        if mirror is None:
            return
        self._open.pop(ended.run_id, None)
        self._quiet.discard(ended.run_id)
        process.last_run = ended.run_id
        if ended.at_exit:
            process.ended_at_exit[ended.run_id] = ended
            if process.exiting is None:
                return  # what ended the process is about to be said
        self._end(mirror, of_run(ended, process.exiting), interrupted=is_interruption(ended.error))

    def _end(self, mirror: RunMirror, end: End, *, interrupted: bool) -> None:
        # An interruption may have hit between a call's writing to MLflow and our hearing of it.
        mirror.incomplete = mirror.incomplete or interrupted
        mirror.end_as(end)

    def _process_exiting(self, process: Process, exiting: ProcessExiting) -> None:
        process.exiting, process.answered = exiting, False
        for run_id, ended in process.ended_at_exit.items():
            self._end(self._mirrors[run_id], of_run(ended, exiting), interrupted=exiting.interrupted)
        for run_id in process.owned:
            self._mirrors[run_id].console.end()
        self._delivery.try_once_more()

    def _run_tagged(self, process: Process, tagged: RunTagged) -> None:
        mirror = self._mirrors.get(tagged.run_id)
        if mirror is not None:
            mirror.tagged = True

    def _closed(self, process: Process, closed: Closed) -> None:
        process.gone_at = time.monotonic()
        if process.outlives:
            for run_id in process.owned:
                self._open.pop(run_id, None)
            return
        for run_id in process.runs:
            mirror = self._mirrors[run_id]
            if self._home[run_id] is process and mirror.told_end and not mirror.tagged:
                with guard("linking a run whose process is gone"):  # it was told, but no longer there to write the tags
                    link(mirror, mirror.run.tracking_uri)
        code = exit_code.read(self._folder, process.pid) if process.exiting is not None else None
        for announced in list(process.announced.values()):
            with guard("finding a run whose process died at once"):
                self._died_at_once(process, announced)
        left_open = []
        for run_id in process.owned:
            mirror = self._mirrors[run_id]
            mirror.console.end()
            if any(run_id in other.owned for other in self._processes if other.gone_at is None):
                continue  # the run was handed over, and goes on
            if run_id in self._open:
                del self._open[run_id]
                if process.aborted:
                    end_killed(mirror)
                mirror.end_as(process.end_of_orphan(code))
                mirror.incomplete = True  # what the process had not sent yet is read from MLflow
                left_open.append(mirror)
            elif code and run_id in process.ended_at_exit and mirror.end and mirror.end.status == "completed":
                mirror.end_as(of_exit_code(code))
        self._ask_for_verdict(process, left_open)
        self._delivery.try_once_more()

    def _ask_for_verdict(self, process: Process, left_open: list[RunMirror]) -> None:
        """Have ClearML asked how the process's Task ended, where that is not the worker's to say, and not said yet."""
        adopted = [mirror for mirror in map(self._mirrors.__getitem__, process.owned) if mirror.capture.adopted]
        agent_is_gone = process.agent is not None and not process.agent.is_alive()
        task_id = adopted[-1].capture.task_id if adopted else task_of_agent() if process.agent else ""
        if task_id and (left_open or agent_is_gone):
            end = (adopted or left_open)[-1].end if adopted or left_open else None
            end = end or End("stopped", "the agent that ran the Task was killed", "")
            process.verdict = Verdict(task_id, left_open, end, process.agent, self._tasks)

    def _died_at_once(self, process: Process, announced: RunAnnounced) -> None:
        """Take in a run of which the process had no time to say more than that it exists."""
        if announced.owned:
            run, _ = read_run(announced.tracking_uri, announced.run_id)
            self._run_started(process, run._replace(owned=True))
        elif announced.run_id in self._mirrors:
            self._mirrors[announced.run_id].incomplete = True

    _HANDLERS: ClassVar[dict[type, Callable[[Worker, Process, Any], None]]] = {
        Closed: _closed,
        ConsoleWritten: _console_written,
        ProcessChanged: _process_changed,
        ProcessExiting: _process_exiting,
        ProcessStarted: _process_started,
        RunAnnounced: _run_announced,
        RunEnded: _run_ended,
        RunStarted: _run_started,
        RunTagged: _run_tagged,
        TaskFound: _task_found,
    }

    # ClearML

    def _deliver_all(self) -> None:
        if self._settings.abort == "on" and self._watch.is_due and self._delivery.is_due():
            mirrors = [self._mirrors[run_id] for run_id in self._open]
            self._watch.look([(mirror, self._home[mirror.run.run_id]) for mirror in mirrors if mirror.is_running])
        for run_id, mirror in list(self._mirrors.items()):
            self._delivery.deliver(mirror, self._home[run_id], is_open=run_id in self._open)
        self._waiting = sum(mirror.weight for mirror in self._mirrors.values())

    def _answer(self) -> None:
        """Tell processes that are exiting that nothing is left to wait for."""
        for process in self._processes:
            if process.exiting is not None and not process.answered:
                waiting = any(self._mirrors[run_id].is_due for run_id in process.runs)
                if not waiting or self._delivery.is_stuck():
                    process.answered = True
                    process.tell(Delivered())

    def _forget(self) -> None:
        """Drop processes that are gone, with their runs, when these are delivered or there is no hope."""
        for process in [process for process in self._processes if process.gone_at is not None]:
            lingered = time.monotonic() - (process.gone_at or 0)
            waits = process.verdict is not None and not self._is_given(process, last=lingered >= _LINGER_S)
            work = waits or any(self._mirrors[run_id].is_due for run_id in process.runs)
            if work and self._delivery.has_hope() and lingered < _LINGER_S:
                self._flush_at = time.monotonic() + 0.2
                continue
            self._processes.remove(process)
            process.connection.close()
            for run_id in process.runs:
                if not any(run_id in other.runs for other in self._processes):
                    self._give_up(self._mirrors.pop(run_id, None))
                    self._home.pop(run_id, None)

    def _is_given(self, process: Process, *, last: bool) -> bool:
        """Tell whether ClearML has said how the process's Task ended."""
        with contextlib.suppress(ClearMLError):
            if process.verdict is None or process.verdict.is_given(last=last):
                process.verdict = None
                return True
        return False

    def _give_up(self, mirror: RunMirror | None) -> None:
        """Say in the capture, where it is still there, that the rest is for `sync`."""
        if mirror is not None and (mirror.capture.folder / "capture.json").exists():
            mirror.capture.worker_pid = 0
            with guard("writing the capture"):
                mirror.capture.save()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return hide_in_text(super().format(record))


def _log_to_file(folder: Path) -> None:
    """Keep what the worker has to say; its streams lead nowhere."""
    private_folder(folder, home=folder)
    handler = logging.handlers.RotatingFileHandler(folder / "worker.log", maxBytes=2**20, backupCount=1)
    handler.setFormatter(_Formatter("%(asctime)s [%(process)d] %(levelname)s %(message)s"))
    logging.getLogger("autoinstrument").addHandler(handler)


def serve(connection: socket.socket, folder: Path) -> None:
    """Serve one connection on this thread (`AUTOINSTRUMENT_WORKER=thread`)."""
    with guard("the worker"), ourselves():
        worker = Worker(folder, read_settings())
        worker.add(connection)
        worker.run()
    shutil.rmtree(folder, ignore_errors=True)


def main(file: int, folder: str) -> None:
    """Serve a listening socket that was inherited; the process's main program."""
    os.umask(0o077)  # what is written here is for the user alone
    listener = socket.socket(fileno=file)
    with guard("opening the log"):
        _log_to_file(home(read_settings()))
    worker = Worker(Path(folder), read_settings())
    threading.Thread(target=worker.listen, args=(listener,), daemon=True).start()
    with guard("the worker"):
        worker.run()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # threads of the SDK may be waiting for something; nothing is left to be done
