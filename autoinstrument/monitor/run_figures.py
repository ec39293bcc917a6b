"""One run's share of what the sampler has read: its processes, the GPUs that these may see, and the whole machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from autoinstrument.monitor import gpus
from autoinstrument.monitor.averages import Moment
from autoinstrument.monitor.machine import MEMORY_USED
from autoinstrument.monitor.process_trees import TreeUsage, outermost
from autoinstrument.monitor.sampler import Sampler
from autoinstrument.named_tuple import NamedTuple


class WatchedProcess(NamedTuple):
    """A process that logs to a run.

    Attributes:
        pid: its id.
        devices: its variables that say which GPUs it may see, see `gpus.visible`.
        node: number of this machine, see `ProcessStarted.node`.
    """

    pid: int
    devices: Mapping[str, str]
    node: int = 0


class RunFigures:
    """Averages for one run since its last report.

    Attributes:
        processes: those of the run; the last ones that it had once they are gone.
        since: when the last report was made or the run began, of the monotonic clock.
        began: when the run began.
        has_reported: True after the first report.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.processes: Sequence[WatchedProcess] = ()
        self.since = self.began = time.monotonic()
        self.has_reported = False
        self._sampler = sampler
        self._machine: Moment = sampler.machine.now()
        self._gpu: Moment = sampler.gpu.now()

    def watch(self, processes: Sequence[WatchedProcess]) -> None:
        """Note which processes the run has now."""
        self.processes = processes

    def report(self, *, of_machine: bool = False) -> dict[str, float]:
        """Return the figures since the last report, by ClearML's names, and begin anew.

        Args:
            of_machine: memory is that of the whole machine and of whole GPUs, not that of the run's processes.
        """
        sampler = self._sampler
        figures = sampler.machine.since(self._machine)
        if of_machine:
            figures = self._of_processes() | figures | self._of_gpus([])
        else:
            figures.pop(MEMORY_USED, None)
            figures |= self._of_processes() | self._of_gpus(sampler.gpu_processes)
        self._machine, self._gpu = sampler.machine.now(), sampler.gpu.now()
        self.since, self.has_reported = time.monotonic(), True
        return figures

    def _usages(self) -> list[TreeUsage]:
        sampler = self._sampler
        trees = sampler.trees if sampler.trees_at >= self.began else {}
        return [trees[root] for root in outermost([process.pid for process in self.processes], trees)]

    def _of_processes(self) -> dict[str, float]:
        usages = self._usages()
        if not usages:
            return {}
        figures = {MEMORY_USED: sum(usage.memory_gb for usage in usages)}
        if None not in (shares := [usage.cpu_percent for usage in usages]):
            figures["process_cpu_usage"] = sum(share for share in shares if share is not None)
        return figures

    def _of_gpus(self, memory: Sequence[Mapping[int, float] | None]) -> dict[str, float]:
        found, averages = self._sampler.gpus, self._sampler.gpu.since(self._gpu)
        pids = frozenset[int]().union(*(usage.pids for usage in self._usages()))
        figures = {}
        for number in sorted({seen for process in self.processes for seen in gpus.visible(found, process.devices)}):
            beginning = gpus.name(number, "")
            of_gpu = {name: value for name, value in averages.items() if name.startswith(beginning)}
            used = memory[number] if number < len(memory) else None
            if of_gpu and used is not None and pids:
                of_gpu[gpus.name(number, "mem_used_gb")] = sum(gb for pid, gb in used.items() if pid in pids)
            figures.update(of_gpu)
        return figures
