"""Answer the commands `autoinstrument worker status` and `worker stop`, which connect to the worker as processes do."""

from __future__ import annotations

from collections.abc import Callable

from autoinstrument.guard import guard
from autoinstrument.records import Record, ReportRequested, StopRequested, WorkerReported, WorkerStopped
from autoinstrument.worker.receiver import ConnectionClosed
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess


class Control:
    """Takes the records of commands out of those that arrive; for the thread that handles records.

    Args:
        registry: its processes; a command's connection is taken out of it.
        report: makes the worker's report.
        stop: called once, when the worker must stop.

    Attributes:
        is_stopping: the worker must deliver what has arrived, and end.
    """

    def __init__(self, registry: RunRegistry, report: Callable[[], WorkerReported], stop: Callable[[], None]) -> None:
        self.is_stopping = False
        self._left = 0
        self._registry, self._report, self._stop = registry, report, stop
        self._commands: list[TrainingProcess] = []
        self._waiting: list[TrainingProcess] = []

    def handle(self, process: TrainingProcess, record: Record | ConnectionClosed) -> bool:
        """Return True if a record, or the end of a connection, is a command's; then it is handled."""
        if isinstance(record, (ReportRequested, StopRequested)):
            with guard("answering a command"):
                self._take(process)
                if isinstance(record, ReportRequested):
                    process.send(self._report())
                else:
                    self._waiting.append(process)
                    if not self.is_stopping:
                        self.is_stopping = True
                        self._stop()
            return True
        if isinstance(record, ConnectionClosed) and process in self._commands:
            self._commands.remove(process)
            process.connection.close()
            return True
        return False

    def _take(self, process: TrainingProcess) -> None:
        """Note that a connection is a command's: the worker stays for processes alone, and waits for no command."""
        if process in self._registry.processes:
            self._registry.processes.remove(process)
            self._commands.append(process)

    def note_left(self) -> None:
        """Count a run that was given up although its Task lacks something."""
        self._left += 1

    def stopped(self) -> None:
        """Report to the commands that the worker ends now."""
        for process in self._waiting:
            process.send(WorkerStopped(self._left))
