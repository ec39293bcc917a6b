"""The worker: takes records from the training process and its children, and keeps their runs' Tasks up to date.

One thread a connection reads; one thread does everything else: capture, disk, ClearML. The queue between them is
bounded, and when it is full the socket fills up, and then the training process's own buffer, which drops the newest.
The process ends when nobody is connected and nothing is left to do.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from autoinstrument.capture.packages import Packages, packages_of
from autoinstrument.guard import guard
from autoinstrument.mirror import death
from autoinstrument.mirror.captures import Captures
from autoinstrument.mirror.completion import complete
from autoinstrument.mirror.ending import End, of_death, of_error, of_exit_code, of_run
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.records import (
    ConsoleWritten,
    Delivered,
    ProcessChanged,
    ProcessExiting,
    ProcessStarted,
    Record,
    RunDelivered,
    RunEnded,
    RunLinked,
    RunPending,
    RunStarted,
    TaskFound,
)
from autoinstrument.settings import Settings, read_settings
from autoinstrument.to_clearml.errors import ClearMLError, NotAllowedError
from autoinstrument.to_clearml.script import script_of
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks
from autoinstrument.transport import exit_code
from autoinstrument.transport.frames import encode, read_all

_FLUSH_S = 2.0
_RETRY_S, _RETRY_MOST_S = 2.0, 60.0
_PING_S = 60.0
_IDLE_S = 30.0
_LINGER_S = 60.0
"""How long the worker tries to deliver after the training process is gone."""


class _Closed(NamedTuple):
    """The other side of a connection is gone."""


class _Process:
    """A training process, or a child of one, as the worker knows it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.started: ProcessStarted | None = None
        self.modules: set[str] = set()
        self.exiting: ProcessExiting | None = None
        self.exiting_until = 0.0
        self.answered = False
        self.mirrors: dict[str, RunMirror] = {}
        self.owned: set[str] = set()
        self.open: set[str] = set()
        self.ended_at_exit: set[str] = set()
        self.last_run = ""
        self.early_console: list[ConsoleWritten] = []
        self.memory_kills = death.memory_kills()
        self.script: dict[str, str] = {}
        self.packages = Packages("", "")

    def tell(self, record: Record) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(encode([record]))


class Worker:
    """The state of all connected processes and their runs."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._queue: queue.Queue[tuple[_Process, Record | _Closed]] = queue.Queue(20_000)
        self._processes: list[_Process] = []
        self._captures = Captures(settings)
        self._tasks = Tasks(Session())
        self._task_of_run: dict[str, str] = {}
        self._pending: set[str] = set()
        self._retry_at = 0.0
        self._retry_s = _RETRY_S
        self._hopeless = False
        self._flush_at = 0.0
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
        process = _Process(connection)
        self._processes.append(process)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: _Process) -> None:
        with guard("reading from the training process"):
            for record in read_all(process.connection):
                self._queue.put((process, record))
        self._queue.put((process, _Closed()))

    # The loop

    def run(self) -> None:
        """Work until nobody is connected any more."""
        while self._processes or time.monotonic() - self._since < _IDLE_S:
            urgent = self._take()
            now = time.monotonic()
            if urgent or now >= self._flush_at:
                self._flush_at = now + _FLUSH_S
                for process in list(self._processes):
                    self._serve(process)
            if not self._processes and self._queue.empty():
                return

    def _take(self) -> bool:
        """Take in what has arrived, waiting for it until the next flush is due; tell whether it cannot wait longer."""
        urgent = False
        wait = max(0.0, self._flush_at - time.monotonic())
        with contextlib.suppress(queue.Empty):
            process, record = self._queue.get(timeout=wait or 0.01)
            urgent = self._handle(process, record)
            for _ in range(5000):
                process, record = self._queue.get_nowait()
                urgent = self._handle(process, record) or urgent
        return urgent

    def _handle(self, process: _Process, record: Record | _Closed) -> bool:
        self._since = time.monotonic()
        with guard(f"handling {type(record).__name__}"):
            if isinstance(record, _Closed):
                self._closed(process)
                return True
            if isinstance(record, ProcessStarted):
                process.started, process.modules = record, set(record.modules)
            elif isinstance(record, ProcessChanged):
                self._changed(process, record)
            elif isinstance(record, ProcessExiting):
                self._exiting(process, record)
                return True
            elif isinstance(record, ConsoleWritten):
                self._console(process, record)
            elif isinstance(record, RunStarted):
                self._started(process, record)
                return True
            elif isinstance(record, TaskFound):
                self._found(process, record)
            elif isinstance(record, RunEnded):
                self._ended(process, record)
                return True
            else:
                mirror = process.mirrors.get(getattr(record, "run_id", ""))
                if mirror is not None:
                    mirror.take(record)
        return False

    # Records

    def _started(self, process: _Process, run: RunStarted) -> None:
        if not process.script and process.started is not None:
            with guard("capturing the code"):
                process.script = script_of(process.started)._asdict()
            with guard("capturing the packages"):
                process.packages = packages_of(process.modules, process.started.sys_path)
        capture = self._captures.of(run, process.started)
        capture.worker_pid = os.getpid()
        capture.script = process.script
        capture.requirements, capture.freeze = process.packages
        linked = run.tags.get("clearml.task_id", "")
        if run.resumed and linked and not capture.task_id:
            capture.task_id = linked
        with guard("writing the capture"):
            capture.save()
        mirror = RunMirror(capture, self._settings, self._tasks)
        mirror.parent_task = functools.partial(self._parent_task, run)
        process.mirrors[run.run_id] = mirror
        process.open.add(run.run_id)
        process.ended_at_exit.discard(run.run_id)
        if run.owned:
            process.owned.add(run.run_id)
        process.last_run = run.run_id
        for written in process.early_console:
            mirror.write(*written)
        process.early_console.clear()

    def _parent_task(self, run: RunStarted) -> str:
        return self._task_of_run.get(run.parent_run_id, "")

    def _changed(self, process: _Process, changed: ProcessChanged) -> None:
        if process.started is None:
            return
        process.modules.update(changed.modules)
        again = False
        if changed.modules:
            packages = packages_of(process.modules, process.started.sys_path)
            again = packages != process.packages
            process.packages = packages
        if changed.arguments != process.started.arguments or changed.source != process.started.source:
            again = True
            process.started = process.started._replace(arguments=changed.arguments, source=changed.source)
            process.script = script_of(process.started)._asdict()
        if again:
            for run_id in process.open:
                mirror = process.mirrors[run_id]
                mirror.capture.process = process.started
                mirror.capture.script = process.script
                mirror.capture.requirements, mirror.capture.freeze = process.packages
                mirror.describe_again()

    def _console(self, process: _Process, written: ConsoleWritten) -> None:
        runs = process.open or ({process.last_run} if process.last_run else set())
        for run_id in runs:
            process.mirrors[run_id].write(*written)
        if not runs:
            process.early_console.append(written)

    def _found(self, process: _Process, found: TaskFound) -> None:
        mirror = process.mirrors.get(found.run_id)
        if mirror is not None:
            mirror.adopt(found.task_id)

    def _ended(self, process: _Process, ended: RunEnded) -> None:
        mirror = process.mirrors.get(ended.run_id)
        if mirror is None:
            return
        process.open.discard(ended.run_id)
        if ended.at_exit:
            process.ended_at_exit.add(ended.run_id)
            if process.exiting is None:
                mirror.end_waits = of_run(ended)
                return
        self._end(mirror, of_run(ended, process.exiting))

    def _end(self, mirror: RunMirror, end: End) -> None:
        mirror.end, mirror.ended = end, False
        mirror.capture.end = end._asdict()
        with guard("writing the capture"):
            mirror.capture.save()

    def _exiting(self, process: _Process, exiting: ProcessExiting) -> None:
        process.exiting = exiting
        process.exiting_until = time.monotonic() + exiting.wait_s
        process.answered = False
        for run_id in process.ended_at_exit:
            mirror = process.mirrors[run_id]
            if mirror.end_waits is not None:
                end = of_error(exiting.error, interrupted=exiting.interrupted) if exiting.error else mirror.end_waits
                self._end(mirror, end)
        for mirror in process.mirrors.values():
            mirror.end_console()
        self._retry_at = min(self._retry_at, time.monotonic() + 0.2)

    def _closed(self, process: _Process) -> None:
        code = exit_code.read(self._folder) if process.exiting is not None else None
        for run_id, mirror in process.mirrors.items():
            mirror.end_console()
            if run_id in process.ended_at_exit and code and mirror.end is not None and mirror.end.status == "completed":
                self._end(mirror, of_exit_code(code))
            elif run_id in process.open and run_id in process.owned:
                self._orphaned(process, mirror, code)
        deadline = time.monotonic() + _LINGER_S
        while any(mirror.has_work for mirror in process.mirrors.values()) and time.monotonic() < deadline:
            self._serve(process)
            if self._hopeless or any(run_id in self._pending for run_id in process.mirrors):
                break
            time.sleep(0.1)
        self._processes.remove(process)
        process.connection.close()

    def _orphaned(self, process: _Process, mirror: RunMirror, code: int | None) -> None:
        """End a run that its process left open, with all that MLflow holds of it."""
        if process.exiting is not None:
            if process.exiting.error:
                end = of_error(process.exiting.error, interrupted=process.exiting.interrupted)
            elif code:
                end = of_exit_code(code)
            else:
                end = End("stopped", "the process ended without ending the run", "")
        else:
            killed = death.memory_kills() > process.memory_kills
            end = of_death(out_of_memory=killed, signal=death.signal_of(process.started.pid if process.started else 0))
        self._end(mirror, end)
        with guard("completing the run from MLflow"):
            complete(mirror, end=end)

    # ClearML

    def _serve(self, process: _Process) -> None:
        """Deliver what waits of a process's runs, and answer it."""
        now = time.monotonic()
        if not self._hopeless and now >= self._retry_at:
            for run_id, mirror in list(process.mirrors.items()):
                mirror.tick()
                if mirror.has_work:
                    self._deliver(process, run_id, mirror)
                elif run_id in process.open and now - mirror.last_sent > _PING_S:
                    with contextlib.suppress(ClearMLError):
                        mirror.alive()
        if process.exiting is not None and not process.answered:
            waiting = any(mirror.has_work for mirror in process.mirrors.values())
            if not waiting or self._hopeless or self._retry_at > now:
                process.answered = True
                process.tell(Delivered())

    def _deliver(self, process: _Process, run_id: str, mirror: RunMirror) -> None:
        was_linked = mirror.task
        try:
            mirror.flush()
        except ClearMLError as error:
            self._hopeless = isinstance(error, NotAllowedError)
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(self._retry_s * 2, _RETRY_MOST_S)
            with guard("writing the capture"):
                mirror.capture.save()
            if run_id not in self._pending:
                self._pending.add(run_id)
                process.tell(RunPending(run_id, f"{error}; recorded, `autoinstrument sync` makes the Task later"))
            return
        self._retry_s = _RETRY_S
        if mirror.task is not None and (mirror.task != was_linked or run_id in self._pending):
            self._pending.discard(run_id)
            self._task_of_run[run_id] = mirror.task.id
            process.tell(RunLinked(run_id, mirror.task.id, mirror.task.url, mirror.task.adopted))
            with guard("writing the capture"):
                mirror.capture.save()
        if mirror.ended:
            if mirror.incomplete:
                with guard("completing the run from MLflow"):
                    complete(mirror, end=mirror.end)
            if not mirror.incomplete:
                process.tell(RunDelivered(run_id))
                mirror.capture.remove()


def serve(connection: socket.socket, folder: Path) -> None:
    """Serve one connection on this thread (`AUTOINSTRUMENT_WORKER=thread`)."""
    with guard("the worker"):
        worker = Worker(folder, read_settings())
        worker.add(connection)
        worker.run()
    shutil.rmtree(folder, ignore_errors=True)


def main(file: int, folder: str) -> None:
    """Serve a listening socket that was inherited; the process's main program."""
    listener = socket.socket(fileno=file)
    worker = Worker(Path(folder), read_settings())
    threading.Thread(target=worker.listen, args=(listener,), daemon=True).start()
    with guard("the worker"):
        worker.run()
    listener.close()
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # threads of the SDK may be waiting for something; nothing is left to be done
