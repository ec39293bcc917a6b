"""The processes and runs that the worker knows, and which process answers for which run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from autoinstrument.transport.limits import WAITING_BYTES
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.training_process import TrainingProcess


class RunRegistry:
    """Processes and runs.

    Attributes:
        processes: those that are connected, and those that are gone while their runs are not delivered yet.
        mirrors: by run id.
        home: the process that receives messages about a run, by run id.
        open: runs that have not ended, by id, in the order in which they began. Each with its owners at work: the
            connected processes that have begun or resumed it, and have not ended it.
    """

    def __init__(self) -> None:
        self.processes: list[TrainingProcess] = []
        self.mirrors: dict[str, LiveRun] = {}
        self.home: dict[str, TrainingProcess] = {}
        self.open: dict[str, list[TrainingProcess]] = {}

    def add(self, process: TrainingProcess, mirror: LiveRun) -> None:
        """Note a run that a process has described; `began` must follow."""
        self.home[mirror.run.run_id] = process
        self.mirrors[mirror.run.run_id] = mirror

    def began(self, process: TrainingProcess, run_id: str, *, owned: bool) -> None:
        """Note that a process began or resumed a run (`owned`), or logs to a run of another process."""
        if owned:
            process.own(run_id)
            owners = self.open.setdefault(run_id, [])
            if process not in owners:
                owners.append(process)
        else:
            process.log_to(run_id)
        if owned or run_id not in self.home:
            self.home[run_id] = process

    def left(self, process: TrainingProcess, run_id: str) -> bool:
        """Note that an owner has ended a run, or is gone; return True if it was at work on it until now.

        The run is open as long as another owner is at work on it.
        """
        owners = self.open.get(run_id, [])
        was_at_work = process in owners
        if was_at_work:
            owners.remove(process)
        if not owners:
            self.open.pop(run_id, None)
        return was_at_work

    def describes(self, process: TrainingProcess, run_id: str) -> None:
        """Note that a run's Task has the code, packages and command line of this process, and of no other."""
        for other in self.processes:
            other.describe(run_id, describes=other is process)

    def parent_of(self, process: TrainingProcess) -> TrainingProcess | None:
        """Return the process whose runs a process has joined; None if it is not known."""
        if process.joined is None:
            return None
        found = [each for each in self.processes if each.pid == process.joined.parent and each.joined is None]
        return next((each for each in reversed(found) if each.gone_at is None), found[-1] if found else None)

    def node_of(self, process: TrainingProcess) -> int:
        """Return the number of a process's machine, see `ProcessStarted.node`."""
        started = (self.parent_of(process) or process).started
        return started.node if started is not None else 0

    def shown_runs(self, process: TrainingProcess) -> list[LiveRun]:
        """Return the runs whose consoles a process writes to at present.

        These are its open runs, and those that it logs to while a process on another machine has begun them.
        """
        runs = [
            self.mirrors[run_id]
            for run_id, owners in self.open.items()
            if process in owners or run_id in process.runs - process.owned
        ]
        others = (self.mirrors[run_id] for run_id in process.runs if run_id in self.mirrors and run_id not in self.open)
        return [*runs, *(each for each in others if not each.run.owned and each.end is None)]

    def processes_of(self, run_id: str) -> list[TrainingProcess]:
        """Return the connected processes that log to a run, and those that have joined one of them."""
        here = [each for each in self.processes if each.pid and each.gone_at is None]
        logging = [each for each in here if run_id in each.runs]
        return logging + [each for each in here if self.parent_of(each) in logging]

    def open_runs_of(self, process: TrainingProcess) -> list[LiveRun]:
        """Return the open runs of which a process is an owner at work, in the order in which they began."""
        return [self.mirrors[run_id] for run_id, owners in self.open.items() if process in owners]

    def described_by(self, process: TrainingProcess, *, only_open: bool = False) -> list[LiveRun]:
        """Return the runs whose Tasks have the code, packages and command line of a process."""
        return [self.mirrors[run_id] for run_id in process.described if run_id in self.open or not only_open]

    @property
    def next_description(self) -> float:
        """When `Dispatcher.take_captured` must be called at the latest, in seconds of the monotonic clock."""
        waiting = (
            min(mirror.gate.describe_at, process.description.whole_by)
            for process in self.processes
            for mirror in self.described_by(process)
            if mirror.gate.describe_at is not None
        )
        return min(waiting, default=math.inf)

    def left_by(self, process: TrainingProcess) -> list[LiveRun]:
        """Return the runs of processes on other machines to which this process was the last one here to log."""
        others = [other for other in self.processes if other is not process and other.exit.exiting is None]
        still = {run_id for other in others if other.gone_at is None for run_id in other.runs}
        runs = (self.mirrors.get(run_id) for run_id in process.runs - still)
        return [mirror for mirror in runs if mirror is not None and not mirror.run.owned]

    def at_home(self, process: TrainingProcess) -> Iterator[LiveRun]:
        """Yield the runs of a process about which no other process receives messages."""
        for run_id in process.runs:
            if self.home[run_id] is process:
                yield self.mirrors[run_id]

    def is_full_for(self, mirror: LiveRun, waiting: int) -> bool:
        """Return True if no more data of a run may wait: half of the room is shared evenly by the open runs.

        Args:
            mirror: the run.
            waiting: bytes that wait for the server, of all runs.
        """
        if waiting < WAITING_BYTES / 2:
            return False
        share = WAITING_BYTES / 2 / max(1, len(self.open))
        return waiting >= WAITING_BYTES or mirror.weight > share

    def waits_for_parent(self, mirror: LiveRun) -> bool:
        """Return True while the Task of a run's parent, below which its own will be, is about to be made.

        If that has failed once, the run waits no longer; its Task is placed below the other one later.
        """
        parent = self.mirrors.get(mirror.run.parent_run_id)
        if parent is None or parent.task is not None:
            return False
        return parent.is_away or (not parent.gate.last_sent and parent.is_due)

    def awaited(self) -> set[str]:
        """Return the ids of the runs for whose delivery a process waits, or that a process has left."""
        waiting = (each for each in self.processes if each.waits.any_open or each.gone_at is not None)
        return {run_id for process in waiting for run_id in process.runs}

    def mark_urgent(self, process: TrainingProcess) -> None:
        """Deliver the runs of a process that are away again as soon as they come home."""
        for run_id in process.runs:
            mirror = self.mirrors.get(run_id)
            if mirror is not None:
                mirror.want()

    def forget(self, process: TrainingProcess) -> list[LiveRun]:
        """Drop a process that is gone, and close its connection.

        Returns:
            The mirrors of runs that no other process logs to; they are dropped, too.
        """
        self.processes.remove(process)
        process.connection.close()
        dropped = []
        for run_id in process.owned:
            self.left(process, run_id)
        for run_id in process.runs:
            others = [other for other in self.processes if run_id in other.runs]
            if others:
                if self.home.get(run_id) is process:
                    self.home[run_id] = next((other for other in others if run_id in other.owned), others[0])
            else:
                self.home.pop(run_id, None)
                if mirror := self.mirrors.pop(run_id, None):
                    dropped.append(mirror)
        return dropped
