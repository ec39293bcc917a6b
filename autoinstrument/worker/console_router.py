"""Find the runs to which a text on a process's console belongs.

It belongs to all runs of the process that are open. If none is open, it announces the next run ("starting job 1") and
waits for it; when the process ends, or too much text waits, it belongs to the run before.

The text of a process that has no run (`ProcessJoined`) is that of the process that it has joined, under its own name.
"""

from __future__ import annotations

from collections import defaultdict

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
        self._waiting: defaultdict[TrainingProcess, list[ConsoleWritten]] = defaultdict(list)
        """Text of processes while none of their runs is open."""
        self._last_run: dict[TrainingProcess, str] = {}
        """The run of a process that ended last."""

    def write(self, process: TrainingProcess, written: ConsoleWritten) -> None:
        """Give text to the process's open runs, or keep it for the next run."""
        if process.joined is not None:
            written = written._replace(process=process.name)
            if (parent := self._registry.parent_of(process)) is not None:
                self._catch_up(process, parent)
                process = parent
        runs = self._registry.shown_runs(process)
        for mirror in runs:
            self._give(mirror, process, written)
        if runs:
            return
        waiting = self._waiting[process]
        if not self._early.has_room(len(waiting)):
            self.leave(process)
            if waiting:  # there was no run before
                return
        waiting.append(written)
        self._early.reserve(weight(written))

    def catch_up(self, process: TrainingProcess) -> None:
        """Give the runs of a process what those that have joined it had written before it was known."""
        for other in self._registry.processes:
            if self._waiting.get(other) and self._registry.parent_of(other) is process:
                self._catch_up(other, process)

    def run_began(self, process: TrainingProcess, run: RunStarted) -> None:
        """Give text that waits to the run that has begun, unless another process's run has begun in between."""
        if run.owned or process not in self._last_run:
            self._give_waiting(process, self._registry.mirrors[run.run_id])

    def run_ended(self, process: TrainingProcess, run_id: str) -> None:
        """Note that a run has ended."""
        self._last_run[process] = run_id

    def leave(self, process: TrainingProcess) -> None:
        """Give text that waits to the run that ended last, because no other run is expected."""
        if mirror := self._registry.mirrors.get(self._last_run.get(process, "")):
            self._give_waiting(process, mirror)

    def closed(self, process: TrainingProcess) -> None:
        """Finish the last lines of a process that is gone, in runs of others."""
        if (parent := self._registry.parent_of(process)) is not None:
            self._catch_up(process, parent)
        for mirror in self._registry.mirrors.values() if process.name else ():
            if mirror.run.run_id not in process.owned:
                mirror.console.process_left(process.name)

    def forget(self, process: TrainingProcess) -> None:
        """Drop text that waits for the next run of a process that is gone."""
        self._take_waiting(process)
        self._waiting.pop(process, None)
        self._last_run.pop(process, None)

    def _catch_up(self, process: TrainingProcess, parent: TrainingProcess) -> None:
        """Write what a process had written before the one that it has joined was known."""
        for written in self._take_waiting(process):
            self.write(parent, written)

    def _give_waiting(self, process: TrainingProcess, mirror: LiveRun) -> None:
        for written in self._take_waiting(process):
            self._give(mirror, process, written)

    def _take_waiting(self, process: TrainingProcess) -> list[ConsoleWritten]:
        waiting = self._waiting[process]
        taken = waiting[:]
        waiting.clear()  # `write` may hold the list
        self._early.reserve(-sum(map(weight, taken)))
        return taken

    @staticmethod
    def _give(mirror: LiveRun, process: TrainingProcess, written: ConsoleWritten) -> None:
        is_own = written.process or mirror.run.run_id in process.owned
        mirror.write(written if is_own else written._replace(process=process.name))
