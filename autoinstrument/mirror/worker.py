"""The worker: takes records from the training process and its children, and keeps their runs' Tasks up to date.

One thread a connection reads; one thread does everything else: capture, disk, ClearML. The queue between them is
bounded, and when it is full the socket fills up, and then the training process's own buffer, which drops the newest.
The process ends when nobody is connected and nothing is left to do.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import logging.handlers
import os
import queue
import shutil
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from autoinstrument.from_mlflow.links import set_killed
from autoinstrument.from_mlflow.store import read_run
from autoinstrument.guard import guard, logger, ourselves
from autoinstrument.mirror.backoff import Backoff
from autoinstrument.mirror.captures import Capture, Captures, home, private_folder
from autoinstrument.mirror.completion import complete, link
from autoinstrument.mirror.ending import End, is_interruption, of_exit_code, of_run
from autoinstrument.mirror.liveness import BEAT_S, beat, machine
from autoinstrument.mirror.process import Process
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mirror.verdict import Verdict
from autoinstrument.records import (
    ArtifactLogged,
    ConsoleWritten,
    Delivered,
    ProcessChanged,
    ProcessExiting,
    ProcessStarted,
    Record,
    RunAnnounced,
    RunDelivered,
    RunEnded,
    RunLinked,
    RunPending,
    RunStarted,
    TaskFound,
)
from autoinstrument.settings import Settings, read_settings
from autoinstrument.to_clearml.errors import ClearMLError, RefusedError
from autoinstrument.to_clearml.files import Files
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks
from autoinstrument.transport import exit_code
from autoinstrument.transport.frames import read_all
from autoinstrument.transport.weight import weight
from autoinstrument.under_agent import task_of_agent

_FLUSH_S = 2.0
_PING_S = 600.0
"""A Task of which nothing was sent for so long is said to be alive; the server stops it after 7,200 s."""
_WATCH_S = 55.0
_IDLE_S = 30.0
_EARLY = _EARLY_CONSOLE = 10_000
_OTHERS_S = 15.0
"""How long the process that began a run is given to make the Task."""
_MAX_WEIGHT, _MAX_CONTENT = 96 * 2**20, 64 * 2**20
"""Bytes of records that were received and not yet handled; of them, of files' contents."""
_FULL_S = 0.05
_LINGER_S = 60.0
"""How long the worker tries to deliver after the training process is gone."""


class _Closed(NamedTuple):
    """The other side of a connection is gone."""


_STRUCTURE = (_Closed, ProcessChanged, ProcessExiting, ProcessStarted, RunAnnounced, RunEnded, RunStarted, TaskFound)
_MOST_BEHIND = 20_000


class Worker:
    """The state of all connected processes and their runs."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._queue: queue.Queue[tuple[Process, Record | _Closed]] = queue.Queue(20_000)
        self._processes: list[Process] = []
        self._captures = Captures(settings)
        session = Session(self._keep_console)
        self._tasks, self._uploads = Tasks(session), Uploads(Files(session))
        self._mirrors: dict[str, RunMirror] = {}
        self._home: dict[str, Process] = {}
        """The process that is told of a run, by run id."""
        self._open: dict[str, None] = {}
        """Runs that have not ended, in the order of their beginning."""
        self._early: list[tuple[Process, Any]] = []
        """What children have said of runs that their parents are still describing."""
        self._server = Backoff()
        self._flush_at = self._beat_at = 0.0
        self._watch_at = time.monotonic() + _WATCH_S
        self._weight: Counter[str] = Counter()
        """Bytes "in" and "out" of the queue, and the characters of files' contents in it (`content_in`, `_out`)."""
        self._behind: deque[tuple[Process, Record | _Closed]] = deque()
        """Records that console text has overtaken while a request was under way."""
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
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: Process) -> None:
        with guard("reading from the training process"):
            for record in read_all(process.connection):
                while self._weight["in"] - self._weight["out"] > _MAX_WEIGHT:
                    time.sleep(_FULL_S)
                if isinstance(record, ArtifactLogged):
                    if self._weight["content_in"] - self._weight["content_out"] > _MAX_CONTENT:
                        record = record._replace(content=None)  # the store has it
                    self._weight["content_in"] += len(record.content or "")
                self._weight["in"] += weight(record)
                self._queue.put((process, record))
        process.note_death()
        self._queue.put((process, _Closed()))

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
        while self._behind:
            urgent = self._handle(*self._behind.popleft()) or urgent
        with contextlib.suppress(queue.Empty):
            process, record = self._queue.get(timeout=max(0.01, self._flush_at - time.monotonic()))
            urgent = self._handle(process, record) or urgent
            for _ in range(5000):
                process, record = self._queue.get_nowait()
                urgent = self._handle(process, record) or urgent
        return urgent

    def _keep_console(self) -> None:
        """Put console text on disk while a request is under way, which may be for a minute where the server hangs.

        Text overtakes only what does not say whose it is: with the first record of a run's beginning or end, or a
        process's, it waits like everything else.
        """
        if self._behind and isinstance(self._behind[-1][1], _STRUCTURE):
            return
        with contextlib.suppress(queue.Empty):
            while len(self._behind) < _MOST_BEHIND:
                process, record = self._queue.get_nowait()
                if isinstance(record, ConsoleWritten):
                    self._handle(process, record)
                    continue
                self._behind.append((process, record))
                if isinstance(record, _STRUCTURE):
                    return

    def _handle(self, process: Process, record: Record | _Closed) -> bool:
        self._since = time.monotonic()
        if not isinstance(record, _Closed):
            self._weight["out"] += weight(record)
        if isinstance(record, ArtifactLogged):
            self._weight["content_out"] += len(record.content or "")
        handler = self._HANDLERS.get(type(record))
        with guard(f"handling {type(record).__name__}"):
            if handler is not None:
                handler(self, process, record)
            else:
                self._logged(process, record)
        return isinstance(record, (_Closed, ProcessExiting, RunStarted, RunEnded, TaskFound))

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
        capture.requirements, capture.freeze = process.packages
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
            mirror.write(*written)
        process.early_console.clear()
        early, self._early = self._early, []
        for other, record in early:
            self._logged(other, record)  # what is not this run's goes on waiting

    def _logged(self, process: Process, record: Any) -> None:
        """Give a record to its run; what comes before the run's own record waits for that."""
        mirror = self._mirrors.get(record.run_id)
        if mirror is not None:
            process.runs.add(record.run_id)
            mirror.take(record)
        elif len(self._early) < _EARLY:
            self._early.append((process, record))

    def _task_of(self, run_id: str) -> str:
        mirror = self._mirrors.get(run_id)
        return mirror.task.id if mirror is not None and mirror.task is not None else ""

    def _console_written(self, process: Process, written: ConsoleWritten) -> None:
        """Give text to the process's open runs; between two runs to the one before, before the first one to that."""
        runs = [run_id for run_id in self._open if run_id in process.runs]
        runs = runs or ([process.last_run] if process.last_run in self._mirrors else [])
        for run_id in runs:
            self._mirrors[run_id].write(*written)
        if not runs and len(process.early_console) < _EARLY_CONSOLE:
            process.early_console.append(written)

    def _task_found(self, process: Process, found: TaskFound) -> None:
        mirror = self._mirrors.get(found.run_id)
        if mirror is not None:
            mirror.adopt(found.task_id)

    def _run_ended(self, process: Process, ended: RunEnded) -> None:
        mirror = self._mirrors.get(ended.run_id)
        if mirror is None:
            return
        self._open.pop(ended.run_id, None)
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
            self._mirrors[run_id].end_console()
        self._server.try_once_more()
        self._uploads.server.try_once_more()

    def _closed(self, process: Process, closed: _Closed) -> None:
        process.gone_at = time.monotonic()
        if process.outlives:
            for run_id in process.owned:
                self._open.pop(run_id, None)
            return
        code = exit_code.read(self._folder, process.pid) if process.exiting is not None else None
        for announced in list(process.announced.values()):
            with guard("finding a run whose process died at once"):
                self._died_at_once(process, announced)
        left_open = []
        for run_id in process.owned:
            mirror = self._mirrors[run_id]
            mirror.end_console()
            if any(run_id in other.owned for other in self._processes if other.gone_at is None):
                continue  # the run was handed over, and goes on
            if run_id in self._open:
                del self._open[run_id]
                if process.aborted:
                    self._killed(mirror)
                mirror.end_as(process.end_of_orphan(code))
                mirror.incomplete = True  # what the process had not sent yet is read from MLflow
                left_open.append(mirror)
            elif code and run_id in process.ended_at_exit and mirror.end and mirror.end.status == "completed":
                mirror.end_as(of_exit_code(code))
        self._ask_for_verdict(process, left_open)
        self._server.try_once_more()
        self._uploads.server.try_once_more()

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
        _Closed: _closed,
        ConsoleWritten: _console_written,
        ProcessChanged: _process_changed,
        ProcessExiting: _process_exiting,
        ProcessStarted: _process_started,
        RunAnnounced: _run_announced,
        RunEnded: _run_ended,
        RunStarted: _run_started,
        TaskFound: _task_found,
    }

    # ClearML

    def _watch(self) -> None:
        """End the processes whose Tasks somebody has stopped in ClearML, which is asked once a minute for all."""
        now = time.monotonic()
        if self._settings.abort == "off" or now < self._watch_at or not self._server.is_due():
            return
        self._watch_at = now + _WATCH_S
        running = {
            mirror.task.id: run_id
            for run_id, mirror in self._mirrors.items()
            if run_id in self._open and mirror.is_running and mirror.task is not None
        }
        with guard("watching the Tasks"), contextlib.suppress(ClearMLError):
            stopped = self._tasks.stopped(running) if running else {}
            for task_id, words in stopped.items():
                process = self._home[running[task_id]]
                if running[task_id] in process.owned and process.abort(f"aborted in ClearML: {words}"):
                    logger().warning("run %s: aborted in ClearML; SIGTERM to %s", running[task_id], process.pid)

    def _killed(self, mirror: RunMirror) -> None:
        """Set the run of an aborted process to KILLED, as far as the process has not ended it."""
        with guard("ending an aborted run"):
            set_killed(mirror.run.tracking_uri, mirror.run.run_id)

    def _deliver_all(self) -> None:
        now = time.monotonic()
        self._watch()
        for run_id, mirror in list(self._mirrors.items()):
            mirror.tick()
            if not self._server.is_due():
                continue
            with guard("mirroring a run"):
                if mirror.is_due:
                    self._deliver(run_id, mirror)
                elif run_id in self._open and now - mirror.last_sent > _PING_S:
                    with contextlib.suppress(ClearMLError):
                        mirror.alive()

    def _deliver(self, run_id: str, mirror: RunMirror) -> None:
        home = self._home[run_id]
        began = time.monotonic()
        try:
            mirror.flush_without_end()
            if mirror.incomplete and mirror.end is not None:
                self._complete(mirror)
            else:
                mirror.flush()
        except ClearMLError as error:
            if isinstance(error, RefusedError):  # the server is well; this run is not to keep the others waiting
                if error.is_gone and mirror.task is not None and not mirror.task.adopted:
                    mirror.lost()
                mirror.server.failed(error, 0.0)
            else:
                self._server.failed(error, time.monotonic() - began)
            if not mirror.pending:
                mirror.pending = True
                home.tell(RunPending(run_id, f"{error}; recorded, `autoinstrument sync` completes it later"))
            with guard("writing the capture"):
                mirror.capture.keep()
                mirror.capture.save()
            return
        self._server.succeeded()
        mirror.server.succeeded()
        if mirror.task is not None and (mirror.task.id != mirror.linked or mirror.pending):
            mirror.linked, mirror.pending = mirror.task.id, False
            if mirror.run.owned or mirror.made:
                home.tell(RunLinked(run_id, mirror.task.id, mirror.task.url, mirror.task.adopted))
            if not mirror.ended:
                with guard("writing the capture"):
                    mirror.capture.save()
        if mirror.ended and mirror.lacking and not mirror.told_lacking:
            mirror.told_lacking = True
            home.tell(RunPending(run_id, f"{mirror.lacking}; files wait, `autoinstrument sync` completes it later"))
        if mirror.ended and not mirror.told_end and not mirror.has_work:
            mirror.told_end = True
            if not home.answered and home.gone_at is None:
                mirror.tagged = True
                home.tell(RunDelivered(run_id))
            elif not mirror.tagged:  # the process does not wait any longer
                with guard("linking a run whose process is gone"):
                    link(mirror, mirror.run.tracking_uri)
            mirror.capture.remove()

    def _complete(self, mirror: RunMirror) -> None:
        """Fetch from MLflow what a run lacks, and end it; end it all the same where MLflow does not answer."""
        try:
            complete(mirror, end=mirror.end)
        except ClearMLError:
            raise
        except Exception as error:  # MLflow's store raises what its driver raises
            logger().warning("run %s: cannot be completed from MLflow (%s)", mirror.run.run_id, error)
            mirror.flush()
            mirror.told_end = True  # it is not complete: the capture stays, for `sync`
            mirror.incomplete = False

    def _answer(self) -> None:
        """Tell processes that are exiting that nothing is left to wait for."""
        for process in self._processes:
            if process.exiting is not None and not process.answered:
                waiting = any(self._mirrors[run_id].is_due for run_id in process.runs)
                if not waiting or not self._server.is_due() or not self._uploads.server.is_due():
                    process.answered = True
                    process.tell(Delivered())

    def _forget(self) -> None:
        """Drop processes that are gone, with their runs, when these are delivered or there is no hope."""
        for process in [process for process in self._processes if process.gone_at is not None]:
            lingered = time.monotonic() - (process.gone_at or 0)
            waits = process.verdict is not None and not self._is_given(process, last=lingered >= _LINGER_S)
            work = waits or any(self._mirrors[run_id].is_due for run_id in process.runs)
            hope = self._server.has_hope() and self._uploads.server.has_hope()
            if work and hope and lingered < _LINGER_S:
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


def _log_to_file(folder: Path) -> None:
    """Keep what the worker has to say; its streams lead nowhere."""
    private_folder(folder)
    handler = logging.handlers.RotatingFileHandler(folder / "worker.log", maxBytes=2**20, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s [%(process)d] %(levelname)s %(message)s"))
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
