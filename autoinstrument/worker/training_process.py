"""A training process, or a child of one, as the worker knows it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from autoinstrument import process_identity
from autoinstrument.capture.requirements import Requirements
from autoinstrument.capture.script_section import with_arguments
from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.mirror.mapping.run_status import End, of_death, of_error, of_exit_code, of_run, of_silent_exit
from autoinstrument.records import (
    CodeLacking,
    ConsoleWritten,
    DeliveryAwaited,
    EndAnnounced,
    ProcessChanged,
    ProcessExiting,
    ProcessJoined,
    ProcessStarted,
    RunAborted,
    RunAnnounced,
    RunEnded,
    RunStarted,
)
from autoinstrument.worker import cause_of_death
from autoinstrument.worker.agent_task import AgentTaskOutcome, ClearMLAgent, clearml_agent_of, task_of_container
from autoinstrument.worker.capture_thread import CaptureThread
from autoinstrument.worker.jobs import Jobs
from autoinstrument.worker.machine_specs import Specs
from autoinstrument.worker.outbox import Outbox

_LOG_S = 2.0


class TrainingProcess:
    """One connection: the process's reports of itself, its captured code and packages, and its runs."""

    def __init__(
        self,
        connection: socket.socket,
        settings: Callable[[], CaptureSettings] = CaptureSettings,
        *,
        captures: Jobs | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin with a connection; the other arguments are those of `CaptureThread`."""
        self.connection = connection
        self.send = Outbox(connection).send
        self.started: ProcessStarted | None = None
        self.joined: ProcessJoined | None = None
        """Set if only the process's console is of interest, see `ProcessJoined`."""
        self._capturing = CaptureThread(settings, self._lacks, captures=captures, wake=wake)
        self.owned: set[str] = set()
        """Runs that it began or resumed: they end with it."""
        self.described: set[str] = set()
        """Runs whose Tasks have its code, packages and command line."""
        self.runs: set[str] = set()
        """All runs that it has logged to."""
        self.last_run = ""
        """The run that ended last."""
        self.early_console: list[ConsoleWritten] = []
        """Its console text while none of its runs was open, see `worker.console_router`."""
        self.ended_at_exit: dict[str, RunEnded] = {}
        self.exiting: ProcessExiting | None = None
        self.answered = False
        self.awaited: DeliveryAwaited | None = None
        """The script waits for the delivery of what it has logged by then."""
        self.undelivered: set[str] = set()
        """Runs that have had something left to send ever since."""
        self.gone_at: float | None = None
        self.exit_code: int | None = None
        self.is_ending = False
        """It is gone, and its runs were not ended yet."""
        self.unread = 0
        """Number of runs that it could only announce: they must be read from MLflow before its runs are ended."""
        self._modules: set[str] = set()
        self._memory_kills = cause_of_death.unexplained_memory_kills()
        self._is_out_of_memory: bool | None = None
        self._signal = ""
        self.announced: dict[str, RunAnnounced] = {}
        """Runs that were announced and not described yet, by run id."""
        self.announced_ends: dict[str, RunEnded] = {}
        """Ends of runs that were announced and not reported yet, by run id."""
        self.pid = 0
        self.outlives = False
        """It has closed its connection and is still running: it has another worker, or none."""
        self.aborted = ""
        """Why it was aborted in ClearML, "" if it was not."""
        self.abort_logged = threading.Event()
        """Set when the process has logged why it is about to be ended."""
        self.agent: ClearMLAgent | None = None
        """The ClearML agent that runs it."""
        self.container_task = ""
        """Id of the Task whose agent is outside of the process's container, and ends that with the Task; "" if none."""
        self.agent_outcome: AgentTaskOutcome | None = None
        """Asks how its Task ended, when it is gone; None if that is known or not needed."""

    def start(self, started: ProcessStarted) -> None:
        """Note the process's description of itself."""
        started = started._replace(started_ms=process_identity.created_ms(started.pid) or started.started_ms)
        self.started, self._modules, self.pid = started, set(started.modules), started.pid
        self.agent = clearml_agent_of(started.pid)
        self.container_task = task_of_container(started.pid, started.started_ms, self.agent)

    def join(self, joined: ProcessJoined) -> None:
        """Note that the connection carries the console of a process that has no run."""
        self.joined, self.pid = joined, joined.pid

    def hang_up(self) -> None:
        """Close the connection, as if the process had."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    @property
    def name(self) -> str:
        """Name of its lines in the console of another process's run."""
        return self.joined.name if self.joined else self.started.name if self.started else ""

    @property
    def devices(self) -> dict[str, str]:
        """The variables that decide which GPUs the process may see."""
        return self.joined.devices if self.joined else self.started.devices if self.started else {}

    def announce(self, announced: RunAnnounced) -> None:
        """Note that the process has made or resumed a run, which it will describe if it lives."""
        self.announced[announced.run_id], self.pid = announced, announced.pid
        self.announced_ends.pop(announced.run_id, None)

    def announce_end(self, announced: EndAnnounced) -> None:
        """Note how a run has ended, in case the process dies before it reports the end."""
        self.announced_ends[announced.run_id] = RunEnded(*announced, at_exit=False)

    def note_end(self, ended: RunEnded) -> None:
        """Note that a run's end was reported in full."""
        announced = self.announced_ends.get(ended.run_id)
        if announced is not None and announced.end_time_ms == ended.end_time_ms:
            del self.announced_ends[ended.run_id]

    def capture(self, run: RunStarted) -> None:
        """Request a capture of packages, and of the code of a run's program; `news` is called when it is done.

        The code is read when the program's first run begins, because the user may edit the files while it is running.
        """
        if self.started is None:
            return
        program, known = _program(run), self._capturing
        programs = {} if known.was_asked(program) else {program: run.program_of(self.started)}
        packages = not known.packages.requirements and not known.is_busy
        if programs or packages:
            known.ask(self.started, self._modules, programs=programs, packages=packages)

    def describe_without_git(self, run: RunStarted) -> None:
        """Describe the code of a run's program by files, until Git has answered."""
        if self.started is not None:
            self._capturing.do_without_git(_program(run), run.program_of(self.started))

    @property
    def is_capturing(self) -> bool:
        """True while its code or packages are being captured."""
        return self._capturing.is_busy

    @property
    def news(self) -> int:
        """See `CaptureThread.news`."""
        return self._capturing.news

    @property
    def whole_by(self) -> float:
        """See `CaptureThread.whole_by`."""
        return self._capturing.whole_by

    @property
    def is_waiting(self) -> bool:
        """True while it waits for the delivery of its runs, at its end or in a call of the script."""
        return self.awaited is not None or (self.exiting is not None and not self.answered)

    def note_described(self, news: int) -> None:
        """See `CaptureThread.note_described`."""
        self._capturing.note_described(news)

    def change(self, changed: ProcessChanged) -> bool:
        """Note changes of the process; return True if packages, arguments or source differ from before."""
        if self.started is None:
            return False
        before = (self.packages, self.started)
        known, self._modules = self._modules, self._modules.union(changed.modules)
        packages = self.packages.may_change(known, changed.modules)  # listing them takes a quarter of a second
        self.started = self.started._replace(
            arguments=changed.arguments,
            source=changed.source,
            command_line=changed.command_line,
            configuration=changed.configuration,
            help_texts=changed.help_texts,
        )
        programs = {"": self.started} if changed.source != before[1].source else {}
        if packages or programs:
            self._capturing.ask(self.started, self._modules, programs=programs, packages=packages)
        return (self.packages, self.started) != before

    @property
    def packages(self) -> Requirements:
        """Installed and loaded packages, as far as they are known."""
        return self._capturing.packages

    @property
    def specs(self) -> Specs:
        """Runtime properties that describe its machine; empty until they are known."""
        return self._capturing.specs

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that ClearML's configuration asks for, as far as they are known."""
        return self._capturing.variables

    def _lacks(self, reason: str) -> None:
        self.send(CodeLacking(reason))

    def script_of(self, run: RunStarted) -> dict[str, str]:
        """Return the script section of a run's Task, with the arguments known so far; {} if the code is unknown."""
        code = self._capturing.code.get(_program(run))
        return with_arguments(code, run.program_of(self.started))._asdict() if code and self.started else {}

    def note_death(self) -> None:
        """Find out at once which signal killed the process, before its parent takes its exit status."""
        if self.exiting is None:
            self._signal = cause_of_death.signal_of(self.pid)
            if self.started is not None and self.pid != os.getpid():
                self.outlives = process_identity.outlives(self.pid, self.started.started_ms)

    def abort(self, run_id: str, reason: str) -> bool:
        """Send SIGTERM to the process, once; the script's own handler decides, as always.

        Before that the process logs the reason, and has `_LOG_S` to do so.

        Returns:
            False if the process is gone or was aborted before.
        """
        if self.aborted or not self._is_alive():
            return False
        self.aborted = reason
        self.send(RunAborted(run_id, reason))
        self.abort_logged.wait(_LOG_S)
        if not self._is_alive():
            return False
        _terminate(self.pid)
        return True

    def _is_alive(self) -> bool:
        return self.started is not None and process_identity.is_alive(self.pid, self.started.started_ms)

    def leaves_end_to_others(self, run_id: str) -> bool:
        """Return True if the process has run its exit handlers without ending a run that was open.

        MLflow's own handler ends the runs that a process has begun by `start_run`, unless another process has ended
        them: that of a program that `mlflow run` has started, for example.
        """
        return self.exiting is not None and not self.aborted and run_id not in self.announced_ends

    def reported_end(self, run_id: str, exit_code: int | None) -> End | None:
        """Return how a run ended that was open when the process ended; None if that was not reported."""
        if run_id in self.announced_ends:
            return of_run(self.announced_ends[run_id])
        if self.aborted:
            return End("stopped", self.aborted, "")
        if self.exiting is not None and self.exiting.error:
            return of_error(self.exiting.error, interrupted=self.exiting.interrupted)
        if self.exiting is not None and exit_code:
            return of_exit_code(exit_code)
        return None

    def guessed_end(self) -> End:
        """Return how such a run most likely ended; MLflow may know that it ended before."""
        if self.exiting is not None:
            return of_silent_exit()
        if self._is_out_of_memory is None:  # one answer for all of its runs
            self._is_out_of_memory = cause_of_death.unexplained_memory_kills() > self._memory_kills
            if self._is_out_of_memory:
                cause_of_death.explain_memory_kill()
        return of_death(out_of_memory=self._is_out_of_memory, signal=self._signal)


def _terminate(pid: int) -> None:
    """End a process as `kill` would."""
    if sys.platform == "win32" and pid == os.getpid():
        # `os.kill` would end the process without calling the script's handler. The worker is a thread of it there.
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(pid, signal.SIGTERM)


def _program(run: RunStarted) -> str:
    """Return the key of a run's program: "" for that of the whole process."""
    return run.run_id if run.main_kind else ""
