"""The agent in the training process: which runs are open, what is heard of them, and what happens at exit.

It never imports clearml. It holds no lock while MLflow or the user's code runs, and asks nothing of the network on the
user's threads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoinstrument.bootstrap.explain_log import note
from autoinstrument.capture import own_files
from autoinstrument.capture.console import Console
from autoinstrument.capture.process import Changes, program_now, remember_main
from autoinstrument.clearml_switches import switched_off
from autoinstrument.clone_run import start as clone_run
from autoinstrument.guard import be_quiet, guard, logger
from autoinstrument.integrations.clearml_current_task import existing_task_id
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.mlflow_store.link_tags import LINK_TAGS, STATE, TASK_ID, TASK_URL, set_tags
from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.records import (
    AbortLogged,
    CodeLacking,
    ConsoleWritten,
    EndAnnounced,
    EventsDropped,
    ProcessExiting,
    ProcessStarted,
    Record,
    RunAborted,
    RunAnnounced,
    RunEnded,
    RunLinked,
    RunPending,
    RunStarted,
    RunTagged,
    TaskFound,
)
from autoinstrument.run_log import RunLog
from autoinstrument.settings import Settings, SettingsError, read_settings
from autoinstrument.transport import exit_status, worker_process
from autoinstrument.transport.deferred_reads import Read
from autoinstrument.transport.posted import DeferredStart, Item
from autoinstrument.transport.sender import Sender

_SHARE = 0.85
"""Of the time that the end may take: for the worker; the rest is for saying that it did not get through."""

_ANNOUNCED = 2000
"""Characters of a traceback that go ahead of the whole of it: what is announced is small, or not sent."""

_TRIES, _PAUSE_S = 8, 0.25
"""How often the tracking store is asked about a run that has begun; the pause after that, doubled each time."""

_LOOK_S = 1.0
"""How often it is looked whether `sys.stdout` is another one, where nothing else gives reason to."""

_agent: Agent | None = None
_refused = False


def agent() -> Agent | None:
    """Return this process's agent, made at the first call; None where a setting is bad (said once on stderr)."""
    global _agent, _refused
    if _agent is None and not _refused:
        try:
            _agent = Agent(read_settings())
        except SettingsError as error:
            _refused = True
            note("bad setting", error)
            logger().warning("%s; the agent stays off", error)
    return _agent


class Agent:
    """What the training process knows of its runs, and the way to the worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.quiet:
            be_quiet()
        self.is_exiting = False
        self._open: dict[str, bool] = {}
        self._left_alone: set[str] = set()
        """Runs that have no Task and are to have none."""
        self._uris: dict[str, str] = {}
        self._started: dict[str, RunStarted] = {}
        self._ended: dict[str, RunEnded] = {}
        """Runs that the worker has not delivered yet, for a second worker."""
        self._undescribed: dict[str, str] = {}
        """This process's runs that the tracking store has not described yet, and the URI of that."""
        self._names: dict[str, tuple[str, str]] = {}
        self._log = RunLog()
        self._lacking: set[str] = set()
        """What was logged that code lacks."""
        self._adopter = ""
        self._taken = ""
        self._changes = Changes()
        self._captures = RunJournals(settings)
        self._described: ProcessStarted | None = None
        self._callers: list[str] = []
        remember_main()
        self._cwd = ""
        with contextlib.suppress(OSError):  # the directory was deleted
            self._cwd = str(Path.cwd())
        self._finished = False
        self._sender = Sender(self._connect, self._introduce, self._heard, self._left)
        self._worker: worker_process.WorkerHandle | None = None
        self._watched = False
        self._join = ""
        """A run that another process may have begun: its worker is ours too."""
        self._console = Console(self._written)
        with guard("listening to the console"):
            self._console.attach()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    # What the wrapped calls say

    def post(self, item: Item) -> None:
        """Hand a record over; costs an append."""
        self._console.look()
        if self._left_alone and getattr(item, "run_id", "") in self._left_alone:
            return
        self._sender.post(item)

    def has_room(self, size: int) -> bool:
        """Tell whether a file's content of that many bytes may be posted (`Heavy`); else the worker reads it."""
        return self._sender.has_room(size)

    def post_soon(self, run_id: str, kind: str, read: Read) -> None:
        """Have one kind of a run's data read from the store: soon, and before the run's end; costs a dict entry."""
        self._sender.post_soon(run_id, kind, read)

    def knows(self, run_id: str) -> bool:
        """Tell whether the run was started, resumed or seen in this process."""
        return run_id in self._open

    def artifact_root(self, run_id: str) -> str:
        """Return the root of a run's artifacts, "" where it is not known; for the sending thread."""
        run = self._started.get(run_id)
        return run.artifact_uri if run is not None else ""

    def is_open(self, run_id: str) -> bool:
        """Tell whether the run is known and has not ended."""
        return self._open.get(run_id, False)

    def run_started(
        self,
        run_id: str,
        make: Callable[[], RunStarted | None],
        *,
        tracking_uri: str,
        owned: bool = True,
        again: bool = False,
    ) -> None:
        """Take in a run that was created, resumed (`again`) or first seen; each start is told once.

        `owned` tells whether this process is to end the run. `make` gives the run's record; it is called on the sending
        thread, because it asks the tracking store.
        """
        if self._open.get(run_id) or (run_id in self._open and not again):
            return
        note("run", run_id)
        self._open[run_id] = True
        self._left_alone.discard(run_id)
        with guard("following the console"):
            self._console.follow()
        if again or not owned:
            self._join = self._join or run_id
        self._sender.direct = self._sender.direct or not owned
        off = switched_off()
        if self.settings.worker == "process":
            with guard("announcing a run"):
                self._sender.announce(RunAnnounced(run_id, absolute(tracking_uri), os.getpid(), owned, off))
                if owned and self._worker is not None:
                    self._worker.publish(run_id)

        failed = 0
        program: dict[str, Any] = {}
        if owned:
            self._undescribed[run_id] = absolute(tracking_uri)
            with guard("finding a run's program"):  # now: the next one may have begun when the run is described
                program = program_now()
                self._callers = self._callers or own_files.on_stack()

        def started() -> RunStarted | None:
            nonlocal failed
            try:
                record = make()
            except Exception:
                failed += 1
                if failed < _TRIES:
                    self._sender.post_soon(run_id, "start", retry, _PAUSE_S * 2**failed)
                raise
            self._undescribed.pop(run_id, None)
            if record is None:
                self._open[run_id] = False
                self._left_alone.add(run_id)
                return None
            record = record._replace(**program)
            task_id = self._task_to_adopt(run_id, record)
            if self._adopter == run_id:
                record = record._replace(tags={**record.tags, **clone_run.origin(self._taken)})
            self._uris[run_id] = record.tracking_uri
            self._started[run_id] = record
            self._ended.pop(run_id, None)
            self._names[run_id] = (record.run_name, record.run_url)
            tags = {key: value for key, value in record.tags.items() if key not in LINK_TAGS}
            record = record._replace(
                tags=tags if not record.resumed else record.tags,
                task_id=task_id,
                switched_off=off,
            )
            if record.owned and not record.resumed:
                if self._described is None:  # there is no worker that it was to be told
                    self._described = self._changes.describe(self._cwd, self._callers)
                with contextlib.suppress(OSError):  # the worker, which takes a second to start, may never get to it
                    self._captures.record(record, self._described)
            return record

        def retry() -> RunStarted | None:
            with guard("describing a run"):  # what it had to say was said the first time
                return started()
            return None

        self._sender.post(DeferredStart(started))
        self._sender.post_soon("", "console", self._look, _LOOK_S)

    def run_ended(self, ended: RunEnded) -> None:
        """Take in the end of a run, with what the process has loaded since the last report."""
        if not self._open.get(ended.run_id):
            return
        self._open[ended.run_id] = False
        self._console.look()
        self._ended[ended.run_id] = ended
        self._look_for_task()  # now: ClearML's own at-exit handler forgets its Task
        if self.settings.worker == "process" and not ended.at_exit:  # then it is on the wire when `finish` returns
            with guard("announcing a run's end"):
                error = ended.error[-_ANNOUNCED:]
                self._sender.announce(EndAnnounced(ended.run_id, ended.status, ended.end_time_ms, error))
        self._sender.post_now(ended.run_id)
        self._sender.post(lambda: self._changes.changed())
        self._sender.post(ended)
        if self._finished:  # after `finish` only where the agent was armed too late to stand behind MLflow's handler
            self._sender.finish(self._exiting(0.5))

    def _look(self) -> None:
        """Look now and then for a console that the script has replaced, while it may have no other sign of life."""
        self._console.look()
        if any(self._open.values()):
            self._sender.post_soon("", "console", self._look, _LOOK_S)

    def _written(self, stream: str, text: str) -> None:
        if self._adopter and not self._taken and "clearml" in sys.modules:
            self._look_for_task()  # `Task.init` prints
        self._sender.post(ConsoleWritten(stream, text, int(time.time() * 1000)))

    # The Task that the process has already

    def _task_to_adopt(self, run_id: str, record: RunStarted) -> str:
        """Return the id of the Task that the run takes over: the process's own goes to one top-level run."""
        task_id = existing_task_id()
        if not task_id or task_id == self._taken or record.parent_run_id or not record.owned:
            if not record.parent_run_id and record.owned and not self._adopter:
                self._adopter = run_id
            return ""
        self._adopter, self._taken = run_id, task_id
        return task_id

    def _look_for_task(self) -> None:
        """Say so if `Task.init` was called after the first top-level run began."""
        task_id = existing_task_id()
        if task_id and task_id != self._taken and self._adopter:
            self._taken = task_id
            self._sender.post(TaskFound(self._adopter, task_id))

    # The worker

    def _connect(self, attempt: int) -> socket.socket:
        """Connect to the worker, started before where this process has none."""
        if attempt > 0 or self._worker is None or not self._worker.serves_this_process():
            if self._worker is not None and attempt > 0 and not self._worker.joined:
                shutil.rmtree(self._worker.folder, ignore_errors=True)  # a worker that was killed leaves it behind
            self._watched = False
            if attempt == 0 and self._join and self.settings.worker == "process":
                self._worker = worker_process.find(self._join)
                if self._worker is not None:
                    with contextlib.suppress(OSError):
                        return self._worker.connect()
            self._worker = worker_process.start(self.settings.worker)
        return self._worker.connect()

    def _forked(self) -> None:
        """Go on as a process that runs beside another one: none of the runs so far is this process's to end."""
        self._log.drop_summary()
        self._undescribed.clear()
        self._started = {run_id: record._replace(owned=False) for run_id, record in self._started.items()}
        if self._worker is not None and not self._worker.serves_this_process():
            self._open.clear()  # what is logged to them introduces them to a worker of this process's own

    def _introduce(self, attempt: int) -> list[Record]:
        """Return what a worker is told first: of the process, and by a second worker's start all undelivered runs.

        A second worker finds their Tasks in the captures, and what was lost on the way in MLflow.
        """
        if self._worker is not None and not self._watched:
            self._watched = True
            self._worker.settle()
            with guard("watching the exit code"):
                exit_status.watch(self._worker.folder)
        self._changes = Changes()
        self._described = self._changes.describe(self._cwd, self._callers)
        records: list[Record] = [self._described]
        if attempt > 0:
            if any(self._log.has_task(run_id) for run_id in self._started):
                logger().warning(
                    "the worker process was killed or crashed; a new one continues, some console lines may be missing"
                )
            for run_id, started in list(self._started.items()):
                records += [started._replace(resumed=True), EventsDropped(run_id, 0)]
                if run_id in self._ended:
                    records.append(self._ended[run_id])
        return records

    def _heard(self, record: Record) -> None:
        """Act on what the worker says: write the link tags, tell the user; on the hearing thread."""
        if isinstance(record, RunLinked):
            self._say_linked(record)
            tags = {TASK_ID: record.task_id, STATE: "synced" if record.delivered else "live"}
            if record.task_url:
                tags[TASK_URL] = record.task_url
            if record.adopted:
                tags |= clone_run.origin(record.task_id)
            if record.delivered:
                self._started.pop(record.run_id, None)
                self._ended.pop(record.run_id, None)
            set_tags(self._uris[record.run_id], record.run_id, tags)
            if record.delivered:
                self._sender.reply(RunTagged(record.run_id))
        elif isinstance(record, RunPending):
            self._say_pending([record.run_id], record.reason)
            set_tags(self._uris[record.run_id], record.run_id, {STATE: "pending"})
        elif isinstance(record, RunAborted):
            name, _ = self._name(record.run_id)
            logger().warning("run %s: %s; this process receives SIGTERM", name, record.reason)
            self._sender.reply(AbortLogged(record.run_id))
        elif isinstance(record, CodeLacking) and record.reason not in self._lacking:
            self._lacking.add(record.reason)
            logger().warning("%s", record.reason)

    def _name(self, run_id: str) -> tuple[str, str]:
        """Return a run's name and the address of its page in MLflow, "" where it has none."""
        return self._names.get(run_id, (run_id, ""))

    def _say_pending(self, runs: list[str], reason: str) -> None:
        for run_id in runs:
            note("pending", f"{run_id} {reason}")
        self._log.pending({run_id: self._name(run_id)[0] for run_id in runs}, reason)

    def _say_linked(self, record: RunLinked) -> None:
        started = self._started.get(record.run_id)
        if record.delivered and not (started and started.owned):
            return
        (name, url), task = self._name(record.run_id), record.task_url or record.task_id
        line = f"run {name} is ClearML Task {task}" + (f" (MLflow: {url})" if url else "")
        if self._log.linked(record.run_id, record.task_id, line):
            note("linked", f"{record.run_id} {task}")

    # Exit

    def exiting(self) -> None:
        """Note that the interpreter is on its way out; runs before MLflow's own at-exit handler ends the open runs."""
        self.is_exiting = True
        with guard("looking for a Task"):
            self._look_for_task()

    def finish(self) -> None:
        """Wait for the worker to deliver the rest, `AUTOINSTRUMENT_EXIT_TIMEOUT` seconds at most."""
        try:
            with guard("the end of the process"):
                self._finished = True
                self._console.detach()
                end = time.monotonic() + self.settings.exit_timeout_s
                delivered = self._sender.finish(self._exiting(self.settings.exit_timeout_s * _SHARE))
                pending = [] if delivered else self._undelivered()
                self._log.summarize()
                if pending:  # MLflow's client may try for minutes where its server is down
                    self._sender.do_last(lambda: self._tag_left(pending), max(0.0, end - time.monotonic()))
                if self.settings.worker == "thread" and self._worker is not None:
                    shutil.rmtree(self._worker.folder, ignore_errors=True)
        except KeyboardInterrupt:  # the user will not wait, and has seen a traceback of their own already
            pass

    def _undelivered(self) -> list[str]:
        """Log which runs were not delivered in time; return those that are pending in MLflow.

        A worker process continues; when a run that has its Task already is complete, it writes the tags.
        """
        if self._sender.failure:
            return self._say_left(self._sender.failure)
        late = f"not delivered to ClearML within {self.settings.exit_timeout_s:g} s"
        if self._worker is not None and self._worker.is_thread:
            return self._say_left(late)
        linked = {run_id for run_id in self._started if self._log.has_task(run_id)}
        left = self._say_left(f"{late}, the worker continues", " if the worker does not")
        return [run_id for run_id in left if run_id not in linked]

    def _left(self) -> None:
        """Say at once, here and in MLflow, of the runs that no worker takes that they are left to `sync`."""
        self._tag_left(self._say_left(self._sender.failure or "no worker takes it"))

    def _say_left(self, reason: str, unless: str = "") -> list[str]:
        """Log why runs are left to `sync`, in one line; return them. Those that were reported before are left out."""
        known = [*self._started, *(self._undescribed if self._sender.failure else ())]  # else a worker knows of them
        runs = [run_id for run_id in known if not self._log.is_pending(run_id)]
        remedies = {run_id: self._captures.remedy(run_id) for run_id in runs}
        for remedy in dict.fromkeys(remedies.values()):
            self._say_pending([run_id for run_id in runs if remedies[run_id] == remedy], f"{reason}; {remedy}{unless}")
        return runs

    def _tag_left(self, runs: list[str]) -> None:
        for run_id in runs:
            uri = self._undescribed.get(run_id) or (self._uris[run_id] if run_id in self._started else "")
            if uri:  # else that it is delivered was heard in the meantime
                set_tags(uri, run_id, {STATE: "pending"})

    def _exiting(self, wait_s: float) -> ProcessExiting:
        error, interrupted = "", False
        if not hasattr(sys, "ps1") and "ipykernel" not in sys.modules:  # there, it is some earlier cell's error
            last = getattr(sys, "last_value", None)
            if isinstance(last, BaseException):
                error = "".join(traceback.format_exception(last))[-64_000:]
                interrupted = isinstance(last, KeyboardInterrupt)
        return ProcessExiting(error, interrupted, wait_s)
