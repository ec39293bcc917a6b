"""A training process, or a child of one, as the worker knows it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable

from autoinstrument.capture.packages import Packages
from autoinstrument.mirror import death
from autoinstrument.mirror.capturing import Capturing
from autoinstrument.mirror.ending import End, of_death, of_error, of_exit_code, of_run, of_silent_exit
from autoinstrument.mirror.verdict import Agent, Verdict, agent_of
from autoinstrument.records import (
    CodeLacking,
    ConsoleWritten,
    EndAnnounced,
    ProcessChanged,
    ProcessExiting,
    ProcessStarted,
    Record,
    RunAnnounced,
    RunEnded,
)
from autoinstrument.to_clearml.script import with_arguments
from autoinstrument.transport.frames import encode


class Process:
    """One connection: what the process said of itself, what was captured of it, and the runs whose end it is."""

    def __init__(self, connection: socket.socket, from_remote: Callable[[], bool] = lambda: False) -> None:
        """`from_remote` as in `without_arguments`."""
        self.connection = connection
        self._telling = threading.Lock()
        self.started: ProcessStarted | None = None
        self._capturing = Capturing(from_remote, self._lacks)
        self.owned: set[str] = set()
        """Runs whose end is this process's: those that it started or resumed."""
        self.runs: set[str] = set()
        """All runs that it has spoken of."""
        self.last_run = ""
        """The one that ended last."""
        self.early_console: list[ConsoleWritten] = []
        """What it wrote while none of its runs was open."""
        self.ended_at_exit: dict[str, RunEnded] = {}
        self.exiting: ProcessExiting | None = None
        self.answered = False
        self.gone_at: float | None = None
        self._modules: set[str] = set()
        self._memory_kills = death.memory_kills()
        self._signal = ""
        self.announced: dict[str, RunAnnounced] = {}
        """Runs of which nothing but their existence is known, by run id."""
        self.announced_ends: dict[str, RunEnded] = {}
        """Ends of runs of which more was to come, by run id."""
        self.pid = 0
        self.outlives = False
        """It has closed its connection, and lives: it has another worker, or none."""
        self.aborted = ""
        """Why it was ended from ClearML's side, "" where it was not."""
        self.agent: Agent | None = None
        """The ClearML agent that runs it."""
        self.verdict: Verdict | None = None
        """What is yet to be asked about its Task, when it is gone."""

    def tell(self, record: Record) -> None:
        """Answer the process, if it still listens."""
        with contextlib.suppress(OSError), self._telling:
            self.connection.sendall(encode([record]))

    def start(self, started: ProcessStarted) -> None:
        """Take in what the process says of itself."""
        self.started, self._modules, self.pid = started, set(started.modules), started.pid
        self.agent = agent_of(started.pid)

    def announce(self, announced: RunAnnounced) -> None:
        """Note that the process has made or resumed a run, about which it will say more if it lives."""
        self.announced[announced.run_id], self.pid = announced, announced.pid
        self.announced_ends.pop(announced.run_id, None)

    def announce_end(self, announced: EndAnnounced) -> None:
        """Note how a run has ended, should the process not get to say more of it."""
        self.announced_ends[announced.run_id] = RunEnded(*announced, at_exit=False)

    def told_end(self, ended: RunEnded) -> None:
        """Note that nothing more is to come of a run's end."""
        announced = self.announced_ends.get(ended.run_id)
        if announced is not None and announced.end_time_ms == ended.end_time_ms:
            del self.announced_ends[ended.run_id]

    def capture(self) -> None:
        """Capture code and packages, once; what takes longer than two seconds is there later (`has_captured`)."""
        if self._capturing.code is None and self.started is not None:
            self._capturing.ask(self.started, self._modules, code=True, packages=True)

    @property
    def is_capturing(self) -> bool:
        """True while more of its code and packages is to come."""
        return self._capturing.is_busy

    def has_captured(self) -> bool:
        """Return True, once, if code or packages have come that could not be waited for."""
        return self._capturing.take()

    def change(self, changed: ProcessChanged) -> bool:
        """Take in what has changed; tell whether packages, arguments or source are other than before."""
        if self.started is None:
            return False
        before = (self.packages, self.started)
        known, self._modules = self._modules, self._modules.union(changed.modules)
        packages = self.packages.may_change(known, changed.modules)  # finding out takes a quarter of a second
        self.started = self.started._replace(arguments=changed.arguments, source=changed.source)
        code = changed.source != before[1].source
        if packages or code:
            self._capturing.ask(self.started, self._modules, code=code, packages=packages)
        return (self.packages, self.started) != before

    @property
    def packages(self) -> Packages:
        """What was installed and what of it is loaded, as far as it is known."""
        return self._capturing.packages

    def _lacks(self, reason: str) -> None:
        self.tell(CodeLacking(reason))

    @property
    def script(self) -> dict[str, str]:
        """The script section of its Task, with the arguments as far as they are known; empty where it was not read."""
        if self._capturing.code is None or self.started is None:
            return {}
        return with_arguments(self._capturing.code, self.started)._asdict()

    def note_death(self) -> None:
        """Look at once what killed the process: its parent is about to take the answer away."""
        if self.exiting is None:
            self._signal = death.signal_of(self.pid)
            if self.started is not None and self.pid != os.getpid():
                self.outlives = death.outlives(self.pid, self.started.started_ms)

    def abort(self, reason: str) -> bool:
        """End the process as `kill` would, once; the script's own handler of SIGTERM decides as always.

        Returns:
            False where the process is not known to be there any more.
        """
        if self.aborted or self.started is None or not death.is_alive(self.pid, self.started.started_ms):
            return False
        self.aborted = reason
        os.kill(self.pid, signal.SIGTERM)
        return True

    def reported_end(self, run_id: str, exit_code: int | None) -> End | None:
        """Return how a run ended that this process, which is gone, left open; None where that was not reported."""
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
        """Return how such a run ended as far as can be told from here; MLflow may know that it ended before."""
        if self.exiting is None:
            killed = death.memory_kills() > self._memory_kills
            return of_death(out_of_memory=killed, signal=self._signal)
        return of_silent_exit()
