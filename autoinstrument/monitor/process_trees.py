"""Memory and processor time of processes with all their children: one look at the process table for all runs."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

import psutil

from autoinstrument.monitor.machine import GB
from autoinstrument.named_tuple import NamedTuple


class TreeUsage(NamedTuple):
    """The usage of a process and its children.

    Attributes:
        pids: of all of them.
        memory_gb: resident memory. As in ClearML's monitor (clearml 1.16 to 2.1.12), a child counts with what it has
            more than its parent, because a forked child shares its parent's pages.
        cpu_percent: of all processors of the machine, since the previous look, or since it began. None if
            that cannot be known: a child is gone, and its parent has not waited for it.
    """

    pids: frozenset[int]
    memory_gb: float
    cpu_percent: float | None


class ProcessTrees:
    """Looks at the processes below some roots."""

    def __init__(self) -> None:
        self._parents: dict[int, tuple[psutil.Process, int]] = {}
        """Parents of all processes, kept because asking for them is nine tenths of the work."""
        self._before: dict[int, tuple[float, float]] = {}
        """Time of the last look and processor time until then, by root."""

    def look(self, roots: Collection[int]) -> dict[int, TreeUsage]:
        """Return the usage below each root that is alive, by its process id."""
        processes = {process.pid: process for process in psutil.process_iter()}
        children = self._children(processes)
        usages: dict[int, TreeUsage] = {}
        before, self._before = self._before, {}
        for root in roots:
            if root not in processes:
                continue
            cpu_s, memory, pids = _walk(root, processes, children)
            now = time.time()
            since, cpu_then = before.get(root) or (_created_s(processes[root]), 0.0)
            self._before[root] = now, cpu_s
            percent = None
            if now > since and cpu_s >= cpu_then:
                percent = min(100.0, 100.0 * (cpu_s - cpu_then) / (now - since) / (psutil.cpu_count() or 1))
            usages[root] = TreeUsage(frozenset(pids), memory / GB, percent)
        return usages

    def _children(self, processes: Mapping[int, psutil.Process]) -> dict[int, list[int]]:
        known, self._parents = self._parents, {}
        children: dict[int, list[int]] = {}
        for pid, process in processes.items():
            before = known.get(pid)
            try:
                parent = before[1] if before is not None and before[0] is process else process.ppid()
            except psutil.Error:
                continue
            self._parents[pid] = process, parent
            children.setdefault(parent, []).append(pid)
        return children


def outermost(roots: Iterable[int], usages: Mapping[int, TreeUsage]) -> list[int]:
    """Return those of some roots that are not below another one of them: a child's usage is part of its parent's."""
    alive = [root for root in roots if root in usages]
    return [root for root in alive if not any(root in usages[other].pids for other in alive if other != root)]


def _walk(
    root: int, processes: Mapping[int, psutil.Process], children: Mapping[int, list[int]]
) -> tuple[float, int, set[int]]:
    """Return processor time, memory in bytes, and ids of a process and all below it."""
    cpu_s, memory, pids = 0.0, 0, set[int]()
    waiting = [(root, 0)]
    while waiting:
        pid, of_parent = waiting.pop()
        process = processes[pid]
        try:
            with process.oneshot():
                resident, times = process.memory_info().rss, process.cpu_times()
        except psutil.Error:  # it is gone, or another user's
            resident = of_parent
        else:
            # The children's times are those of children that are gone, and are 0 where the system does not count them.
            cpu_s += times.user + times.system + times.children_user + times.children_system
        memory += max(0, resident - of_parent)
        pids.add(pid)
        waiting += ((child, resident) for child in children.get(pid, ()) if child not in pids and child in processes)
    return cpu_s, memory, pids


def _created_s(process: psutil.Process) -> float:
    try:
        return float(process.create_time())
    except psutil.Error:
        return time.time()
