"""The worker: receives records from the training process and its children, and keeps their runs' Tasks up to date.

Each connection has a thread that reads (`worker.receiver`). The loop handles what they have read (`worker.dispatcher`),
writes it to disk, and decides what is done next (`worker.scheduler`). Servers, files and Git are left to a bounded
number of other threads (`worker.deliveries`). `worker.lifetime` decides when the process ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard, own_calls, swallow
from autoinstrument.journal import liveness
from autoinstrument.journal.liveness import BEAT_S, beat
from autoinstrument.journal.state_folder import home
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.client import give_up_soon
from autoinstrument.records import Record, WorkerReported, WorkerStopped
from autoinstrument.settings import Settings, read_settings
from autoinstrument.transport import peer
from autoinstrument.transport.protocol import ready
from autoinstrument.transport.worker_folder import WorkerFolder
from autoinstrument.worker.abort_watcher import AbortWatcher
from autoinstrument.worker.container_watch import ContainerWatch
from autoinstrument.worker.control import Control
from autoinstrument.worker.deliveries import Deliveries
from autoinstrument.worker.dispatcher import Dispatcher
from autoinstrument.worker.jobs import for_captures
from autoinstrument.worker.lifetime import Lifetime
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.log_file import WorkerLog
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.receiver import ConnectionClosed, Receiver
from autoinstrument.worker.report import report
from autoinstrument.worker.resource_monitor import MonitorReporter
from autoinstrument.worker.scheduler import Scheduler
from autoinstrument.worker.termination import termination
from autoinstrument.worker.training_process import TrainingProcess

_FLUSH_S = 2.0
_TAKE = 5000
_LINGER_S = 60.0
"""How long the worker tries to deliver after the training process is gone."""


class Worker:
    """Receives the records of connected processes, and delivers them."""

    def __init__(self, folder: Path, settings: Settings, *, lean: bool = False) -> None:
        """`lean` as in `Session`: the worker is a process."""
        self._receiver = Receiver()
        self._captures = for_captures()
        session = Session(lean=lean)
        self._tasks = tasks = Tasks(session)
        uploads = Uploads(FileUploads(session))
        self._mlflow = MLflowAccess()
        self._scheduler = Scheduler(tasks, uploads, self._mlflow, dead_after_s=settings.dead_after_s)
        self._watch = AbortWatcher(tasks, aborts=settings.abort, dead_after_s=settings.dead_after_s)
        self._deliveries = Deliveries(self._scheduler, self._receiver.wake)
        aside = self._deliveries.aside
        self._dispatcher = Dispatcher(folder, settings, tasks, uploads, self._scheduler, self._mlflow, aside)
        self._runs = self._dispatcher.registry
        self._containers = ContainerWatch(tasks, self._runs, self._mlflow, aside)
        has_gpus = lean or sys.platform == "win32"
        self._monitor = MonitorReporter(settings.monitor_s, aside, tasks.monitor_settings, with_gpus=has_gpus)
        self._flush_at = self._beat_at = 0.0
        self._folder = WorkerFolder(folder)
        self._lifetime = Lifetime(self._folder, settings.worker_linger_s, self._scheduler.has_hope)
        self._control = Control(self._runs, self._report, self._stop)
        self._given_up: set[TrainingProcess] = set()
        """Processes whose records are not handled any more; see `_serve`."""

    # Connections

    def listen(self, listener: socket.socket) -> None:
        """Accept this user's connections, on a thread."""
        self._lifetime.listen(listener, self._admit)

    def _admit(self, connection: socket.socket) -> None:
        try:
            peer.check(connection)
        except OSError:
            connection.close()
            raise
        self.add(connection)

    def add(self, connection: socket.socket) -> None:
        """Read a connection on a new thread."""
        connection.setblocking(True)
        process = TrainingProcess(
            connection, self._tasks.capture_settings, captures=self._captures, wake=self._receiver.wake
        )
        self._runs.processes.append(process)
        process.send(ready())
        try:
            threading.Thread(target=self._receiver.read, args=(process,), daemon=True).start()
        except RuntimeError:  # the system gives no more threads; the process connects again later
            self._runs.processes.remove(process)
            connection.close()
            raise

    # The loop

    def run(self) -> None:
        """Work until no process is connected, the rest is delivered or given up, and none has come for a while."""
        while not self._lifetime.is_over(lambda: bool(self._runs.processes)):
            urgent = self._take()
            is_news, is_urgent = self._deliveries.take_results()
            urgent = is_urgent or urgent
            urgent = self._serve_all(self._dispatcher.take_captured) or urgent
            urgent = self._serve_all(self._dispatcher.process_end.complete) or urgent
            now = time.monotonic()
            if urgent or now >= self._flush_at:
                self._flush_at = now + _FLUSH_S
                with guard("reporting the machine's figures"):
                    self._monitor.update(self._runs)
                self._deliver_all()
                is_news = True
            if is_news:
                self._serve_all(self._answer)
                self._serve_all(self._forget)
                self._flush_at = min(self._flush_at, self._runs.next_description)
            if now >= self._beat_at:
                self._beat_at = now + BEAT_S
                self._beat()
        self._control.stopped()

    def _serve_all(self, step: Callable[[TrainingProcess], bool]) -> bool:
        """Take a step for each process; return True if it has returned True for one of them."""
        return any([self._serve(process, step) for process in self._runs.processes.copy()])  # noqa: C419  (all of them)

    def _serve(self, process: TrainingProcess, step: Callable[[TrainingProcess], bool]) -> bool:
        """Take a step for a process, whose errors must not end this worker, which others use.

        After an error, the connection is closed. The process connects anew, with all of its runs, or leaves them to
        `sync`.
        """
        try:
            return step(process)
        except Exception as error:
            swallow("serving a process", error)
            with guard("giving up a process"):
                if process.gone_at is None:
                    self._given_up.add(process)
                    process.hang_up()
                    process.leave()
                for mirror in self._dispatcher.forget(process):
                    self._give_up(mirror)
            return False

    # Commands

    def _report(self) -> WorkerReported:
        return report(self._runs, *self._scheduler.failing)

    def _stop(self) -> None:
        """Receive what has been sent, and no more: processes that go on find or start another worker."""
        self._lifetime.stop()
        for process in self._runs.processes:
            process.send(WorkerStopped(0))
            process.dismiss()

    def _beat(self) -> None:
        """Leave a heartbeat for commands on another machine that shares the journals."""
        for mirror in self._runs.mirrors.values():
            # The folder is removed when the Task is complete.
            with guard("leaving a heartbeat"), contextlib.suppress(FileNotFoundError):
                beat(mirror.journal)

    def _take(self) -> bool:
        """Handle what has arrived, or arrives before the next flush is due; return True if delivery is urgent."""
        urgent = False
        for process, record in self._receiver.take(max(0.01, self._flush_at - time.monotonic()), _TAKE):
            if process not in self._given_up:
                urgent = self._serve(process, partial(self._handle, record)) or urgent
            elif isinstance(record, ConnectionClosed):
                self._given_up.remove(process)
        for dropped in self._receiver.dropped():
            self._dispatcher.note_dropped(dropped)
        return urgent

    def _handle(self, record: Record | ConnectionClosed, process: TrainingProcess) -> bool:
        if self._control.handle(process, record):
            return True
        if not self._dispatcher.handle(process, record):
            return False
        self._runs.mark_urgent(process)
        return True

    # ClearML

    def _deliver_all(self) -> None:
        if self._watch.is_due and self._scheduler.is_due():
            self._deliveries.look_for_aborts(self._watch, self._runs)
        if self._scheduler.is_due():
            self._containers.look()
        self._flush_at = min(self._flush_at, self._deliveries.deliver_all(self._runs))
        with guard("weighing what waits"):
            self._dispatcher.weigh()

    def _answer(self, process: TrainingProcess) -> bool:
        """Report to a waiting process that everything is delivered, to an exiting one that there is no more hope."""
        if not process.description.is_capturing:
            process.waits.answer(self._is_undelivered)
        if process.waits.of_exit:
            mirrors = [self._runs.mirrors[run_id] for run_id in process.runs]
            if any(mirror.is_away for mirror in mirrors):
                return False
            waiting = [mirror for mirror in mirrors if mirror.is_due]
            is_busy = process.description.is_capturing and self._scheduler.is_due()
            if not is_busy and all(map(self._scheduler.is_stuck, waiting)):
                for run_id in process.owned:
                    if self._runs.home[run_id] is process:
                        self._scheduler.leave(self._runs.mirrors[run_id], process)
                process.waits.answer_exit()
                return True
        return False

    def _is_undelivered(self, run_id: str) -> bool:
        mirror = self._runs.mirrors[run_id]
        return mirror.is_away or mirror.has_work

    def _forget(self, process: TrainingProcess) -> bool:
        """Drop a process that is gone, with its runs, when these are delivered or cannot be delivered now."""
        if process.gone_at is None:
            return False
        lingered = time.monotonic() - process.gone_at
        mirrors = [self._runs.mirrors[run_id] for run_id in process.runs]
        if process.is_ending or any(mirror.is_away for mirror in mirrors):
            return False  # it is looked at again when they are home
        waits = not self._dispatcher.process_end.knows_outcome(process, last=lingered >= _LINGER_S)
        waits = waits or process.description.is_capturing or any(mirror.is_hopeful for mirror in mirrors)
        work = self._scheduler.has_hope() and waits
        if (work or any(map(self._may_be_linked, mirrors))) and lingered < _LINGER_S:
            self._flush_at = time.monotonic() + 0.2
            if termination.is_requested:
                self._scheduler.try_once_more()  # SIGKILL may follow
            return False
        for mirror in self._dispatcher.forget(process):
            self._give_up(mirror)
        return True

    def _may_be_linked(self, mirror: LiveRun) -> bool:
        """Return True if MLflow will probably accept soon what only the worker can still write about a run."""
        is_left = self._scheduler.is_left(mirror, self._runs.home[mirror.run.run_id])
        return is_left and self._mlflow.has_hope(mirror.run.tracking_uri)

    def _give_up(self, mirror: LiveRun) -> None:
        """Note in the journal, if it still exists, that `sync` must deliver the rest."""
        self._folder.forget_run(mirror.run.run_id)
        with guard("writing the journal"):
            if liveness.give_up(mirror.journal) and mirror.has_work:
                self._control.note_left()


def serve(connection: socket.socket, folder: Path) -> None:
    """Serve one connection on this thread (`AUTOINSTRUMENT_WORKER=thread`)."""
    with guard("the worker"), own_calls():
        worker = Worker(folder, read_settings())
        worker.add(connection)
        worker.run()
    WorkerFolder(folder).remove()


def main(file: int, folder: str) -> None:
    """Serve an inherited listening socket; the main program of the worker process."""
    listener = socket.socket(fileno=file)
    with guard("opening the log"):
        logging.getLogger("autoinstrument").addHandler(WorkerLog(home(read_settings())))
    give_up_soon(folder)
    worker = Worker(Path(folder), read_settings(), lean=True)
    worker.listen(listener)
    with guard("the worker"):
        worker.run()
    WorkerFolder(Path(folder)).remove()
    os._exit(0)  # threads of the SDK may still be waiting, and nothing is left to do
