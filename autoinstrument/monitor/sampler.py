"""Read the machine, its GPUs and the processes of all runs again and again, while there are runs.

The GPUs have a thread of their own: a driver that hangs keeps nothing else waiting.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping

from autoinstrument.guard import guard, own_calls
from autoinstrument.monitor import gpus
from autoinstrument.monitor.averages import Averages
from autoinstrument.monitor.gpu_session import GpuSession
from autoinstrument.monitor.gpus import Gpu
from autoinstrument.monitor.machine import MachineReader
from autoinstrument.monitor.process_trees import ProcessTrees, TreeUsage

PROCESSES_S = 30.0
"""Seconds between two looks at the processes; ClearML's monitor looks as often."""
SOON_S = 5.0
"""Age at which a process is looked at for the first time, so that it may end after ten seconds and have been seen."""


class Sampler:
    """One for all runs of a worker. Its threads work only while there are processes to look at.

    Attributes:
        machine: figures of the machine, and of its GPUs as `gpus.name` calls them.
        gpus: all GPUs at the last reading.
        gpu_processes: GPU memory in GB by process id, for each GPU in the order of `gpus`; None if not known.
        trees: what the processes use, by root.
        trees_at: time of the last look at the processes, of the monotonic clock.

    Args:
        period_s: seconds between two readings.
        gpu_session: None to leave the GPUs alone.
    """

    def __init__(self, period_s: float, gpu_session: GpuSession | None) -> None:
        self.machine = Averages()
        self.gpu = Averages()
        self.gpus: list[Gpu] = []
        self.gpu_processes: list[Mapping[int, float] | None] = []
        self.trees: dict[int, TreeUsage] = {}
        self.trees_at = 0.0
        self._period_s = period_s
        self._gpu_session = gpu_session
        self._gpu_processes_at = 0.0
        self._roots: dict[int, float] = {}
        self._has_roots = threading.Event()
        self._is_started = False
        self._restart()

    def watch(self, roots: Collection[int]) -> None:
        """Look at these processes from now on, with their children; the threads pause if there are none.

        Args:
            roots: process ids.
        """
        now = time.monotonic()
        self._roots = {root: self._roots.get(root, now) for root in roots}
        if not roots:
            self._has_roots.clear()
            return
        if not self._is_started:
            self._is_started = True
            self._start(self._read_machine, self._restart)
            if self._gpu_session is not None:
                self._start(self._read_gpus, self._gpu_session.close)
        self._has_roots.set()

    def _start(self, read: Callable[[], None], pause: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # no thread may be started while the interpreter shuts down
            work = threading.Thread(target=self._work, args=(read, pause), name="autoinstrument-monitor", daemon=True)
            work.start()

    def _work(self, read: Callable[[], None], pause: Callable[[], None]) -> None:
        with own_calls():
            while True:
                if not self._has_roots.is_set():
                    with guard("pausing the monitor"):
                        pause()
                    self._has_roots.wait()
                with guard("reading the machine's figures"):
                    read()
                time.sleep(self._period_s)

    # On the thread of the machine

    def _restart(self) -> None:
        self._machine, self._processes = MachineReader(), ProcessTrees()
        self.trees = {}

    def _read_machine(self) -> None:
        self.machine.add(self._machine.read())
        roots, now = self._roots, time.monotonic()
        age = now - self.trees_at
        is_new = any(root not in self.trees and now - since >= SOON_S for root, since in roots.items())
        if age >= PROCESSES_S or (is_new and age >= SOON_S):
            self.trees = self._processes.look(roots)
            self.trees_at = time.monotonic()

    # On the thread of the GPUs

    def _read_gpus(self) -> None:
        if self._gpu_session is None:
            return
        is_due = time.monotonic() - self._gpu_processes_at >= PROCESSES_S
        found = self._gpu_session.read(processes=is_due)
        if is_due and found:
            self._gpu_processes_at = time.monotonic()
            self.gpu_processes = [gpu.processes for gpu in found]
        self.gpus = found or self.gpus
        self.gpu.add(
            {
                gpus.name(number, figure): value
                for number, gpu in enumerate(found)
                for figure, value in gpu.figures.items()
            }
        )
