"""A training process, or a child of one, as the worker knows it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Set

from autoinstrument import process_identity
from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.records import CodeLacking, ProcessJoined, ProcessStarted, RunAborted, RunAnnounced
from autoinstrument.worker.agent_task import ClearMLAgent, clearml_agent_of, task_of_container
from autoinstrument.worker.capture_thread import CaptureThread
from autoinstrument.worker.delivery_waits import DeliveryWaits
from autoinstrument.worker.exit_reports import ExitReports
from autoinstrument.worker.jobs import Jobs
from autoinstrument.worker.outbox import Outbox
from autoinstrument.worker.process_description import ProcessDescription

_LOG_S = 2.0


class TrainingProcess:
    """One connection, the process that it leads to, and the ids of that process's runs.

    Attributes:
        connection: the socket.
        send: sends a record, see `Outbox`.
        description: its program, for the Tasks of its runs.
        exit: what is reported of its end.
        waits: whether it waits for the delivery of its runs.
        abort_logged: set when the process has logged why it is about to be ended.
    """

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
        capturing = CaptureThread(settings, lambda reason: self.send(CodeLacking(reason)), captures=captures, wake=wake)
        self.description = ProcessDescription(capturing)
        self.exit = ExitReports()
        self.waits = DeliveryWaits(self.send)
        self.abort_logged = threading.Event()
        self._joined: ProcessJoined | None = None
        self._pid = 0
        self._agent: ClearMLAgent | None = None
        self._container_task = ""
        self._owned: set[str] = set()
        self._described: set[str] = set()
        self._runs: set[str] = set()
        self._announced: dict[str, RunAnnounced] = {}
        self._gone_at: float | None = None
        self._outlives = False
        self._is_ending = False

    # What it is

    def start(self, started: ProcessStarted) -> None:
        """Note the process's description of itself."""
        started = started._replace(started_ms=process_identity.created_ms(started.pid) or started.started_ms)
        self.description.start(started)
        self._pid = started.pid
        self._agent = clearml_agent_of(started.pid)
        self._container_task = task_of_container(started.pid, started.started_ms, self._agent)

    def join(self, joined: ProcessJoined) -> None:
        """Note that the connection carries the console of a process that has no run."""
        self._joined, self._pid = joined, joined.pid

    @property
    def pid(self) -> int:
        """Its id, 0 before it has reported anything."""
        return self._pid

    @property
    def started(self) -> ProcessStarted | None:
        """Its description of itself, with its latest changes; None before that has arrived."""
        return self.description.started

    @property
    def joined(self) -> ProcessJoined | None:
        """Set if only its console is of interest, see `ProcessJoined`."""
        return self._joined

    @property
    def name(self) -> str:
        """Name of its lines in the console of another process's run."""
        return self.joined.name if self.joined else self.started.name if self.started else ""

    @property
    def devices(self) -> dict[str, str]:
        """The variables that decide which GPUs the process may see."""
        return self.joined.devices if self.joined else self.started.devices if self.started else {}

    @property
    def agent(self) -> ClearMLAgent | None:
        """The ClearML agent that runs it."""
        return self._agent

    @property
    def container_task(self) -> str:
        """Id of the Task whose agent is outside of the process's container, and ends that with the Task; "" if none."""
        return self._container_task

    def note_container_ends(self) -> None:
        """Note that the agent ends the container, and that nothing more must be asked about it."""
        self._container_task = ""

    # Its runs

    @property
    def runs(self) -> Set[str]:
        """All runs that it has logged to."""
        return self._runs

    @property
    def owned(self) -> Set[str]:
        """Runs that it began or resumed: they end with it."""
        return self._owned

    @property
    def described(self) -> Set[str]:
        """Runs whose Tasks have its code, packages and command line."""
        return self._described

    @property
    def announced(self) -> Mapping[str, RunAnnounced]:
        """Runs that were announced and not described yet, by run id."""
        return self._announced

    def announce(self, announced: RunAnnounced) -> None:
        """Note that the process has made or resumed a run, which it will describe if it lives."""
        self._announced[announced.run_id], self._pid = announced, announced.pid
        self.exit.note_announced(announced.run_id)

    def note_described(self, run_id: str) -> None:
        """Note that the process has described a run that it may have announced."""
        self._announced.pop(run_id, None)

    def log_to(self, run_id: str) -> None:
        """Note that the process logs to a run."""
        self._runs.add(run_id)

    def own(self, run_id: str) -> None:
        """Note that the process has begun or resumed a run."""
        self._runs.add(run_id)
        self._owned.add(run_id)
        self.exit.note_begun(run_id)

    def describe(self, run_id: str, *, describes: bool) -> None:
        """Note that a run's Task has the code, packages and command line of this process, or has them no more."""
        (self._described.add if describes else self._described.discard)(run_id)

    # Its end

    def hang_up(self) -> None:
        """Close the connection, as if the process had."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def abort(self, run_id: str, reason: str) -> bool:
        """Send SIGTERM to the process, once; the script's own handler decides, as always.

        Before that the process logs the reason, and has `_LOG_S` to do so.

        Returns:
            False if the process is gone or was aborted before.
        """
        if self.exit.aborted or not self._is_alive():
            return False
        self.exit.note_abort(reason)
        self.send(RunAborted(run_id, reason))
        self.abort_logged.wait(_LOG_S)
        if not self._is_alive():
            return False
        _terminate(self.pid)
        return True

    def _is_alive(self) -> bool:
        return self.started is not None and process_identity.is_alive(self.pid, self.started.started_ms)

    def dismiss(self) -> None:
        """Read no more from the process: if it goes on, it finds or starts another worker."""
        self._outlives = self.exit.exiting is None  # unless it is found dead
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def note_closed(self) -> None:
        """Find out why the connection was closed; on the thread that has read it, at once."""
        if self.exit.exiting is None:
            self.exit.note_death(self.pid)
            if self.started is not None and self.pid != os.getpid():
                self._outlives = process_identity.outlives(self.pid, self.started.started_ms)

    @property
    def outlives(self) -> bool:
        """True if it has closed its connection and is still running: it has another worker, or none."""
        return self._outlives

    @property
    def gone_at(self) -> float | None:
        """When its connection was closed, in seconds of the monotonic clock; None while it is open."""
        return self._gone_at

    def leave(self) -> None:
        """Note that its connection is closed."""
        self._gone_at = time.monotonic()

    def begin_end(self, unread: int) -> None:
        """Note that its runs must be ended, once `unread` runs were read from MLflow that it could only announce."""
        self._is_ending, self._unread = True, unread

    def note_read(self) -> None:
        """Note that one of these was read, successfully or not."""
        self._unread -= 1

    def complete_end(self) -> None:
        """Note that its runs are ended."""
        self._is_ending = False

    @property
    def is_ending(self) -> bool:
        """True if it is gone, and its runs were not ended yet."""
        return self._is_ending

    @property
    def may_end(self) -> bool:
        """True if its runs can be ended now: all of them are known."""
        return self._is_ending and not self._unread


def _terminate(pid: int) -> None:
    """End a process as `kill` would."""
    if sys.platform == "win32" and pid == os.getpid():
        # `os.kill` would end the process without calling the script's handler. The worker is a thread of it there.
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(pid, signal.SIGTERM)
