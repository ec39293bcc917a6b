"""To which runs does a text on a process's console belong?

It belongs to all runs of the process that are open. If none is open, it announces the next run ("starting job 1") and
waits for it; when the process ends, or too much text waits, it belongs to the run before.
"""

from __future__ import annotations

from autoinstrument.records import ConsoleWritten, RunStarted
from autoinstrument.transport.budget import weight
from autoinstrument.worker.early_records import EarlyRecords
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess


class ConsoleRouter:
    """Gives console text to the mirrors of the runs to which it belongs."""

    def __init__(self, registry: RunRegistry, early: EarlyRecords) -> None:
        self._registry, self._early = registry, early

    def write(self, process: TrainingProcess, written: ConsoleWritten) -> None:
        """Give text to the process's open runs, or keep it for the next run."""
        runs = [run_id for run_id in self._registry.open if run_id in process.runs]
        for run_id in runs:
            self._registry.mirrors[run_id].console.write(*written)
        if runs:
            return
        if not self._early.has_room(len(process.early_console)):
            self.leave(process)
            if process.early_console:  # there was no run before
                return
        process.early_console.append(written)
        self._early.reserve(weight(written))

    def run_began(self, process: TrainingProcess, run: RunStarted) -> None:
        """Give text that waits to the run that has begun, unless another process's run has begun in between."""
        if run.owned or not process.last_run:
            self._give(process, self._registry.mirrors[run.run_id])

    def run_ended(self, process: TrainingProcess, run_id: str) -> None:
        """Note that a run has ended."""
        process.last_run = run_id

    def leave(self, process: TrainingProcess) -> None:
        """Give text that waits to the run that ended last, because no other run is expected."""
        if process.last_run in self._registry.mirrors:
            self._give(process, self._registry.mirrors[process.last_run])

    def forget(self, process: TrainingProcess) -> None:
        """Drop text that waits for the next run of a process that is gone."""
        self._early.reserve(-sum(map(weight, process.early_console)))
        process.early_console.clear()

    def _give(self, process: TrainingProcess, mirror: LiveRun) -> None:
        for written in process.early_console:
            mirror.console.write(*written)
            self._early.reserve(-weight(written))
        process.early_console.clear()
