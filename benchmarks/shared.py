"""The rows of many training processes on one machine: the cost of the first, of each further one, and of `sync`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.processes import AGENT, Bench, Case, Measured, median
from benchmarks.rows import Cells
from benchmarks.scripts import PARALLEL, SHORT
from benchmarks.sync_memory import Case as Store
from benchmarks.sync_memory import measure

ONE_CORE = ("taskset", "-c", "0")
_LONG_S = 1800.0
"""Patience with 64 processes, which each open MLflow's store: 60 CPU seconds together before the first point."""


class Size(NamedTuple):
    """Size of the measurement: in full, or just enough to see that everything works."""

    processes: tuple[int, ...] = (1, 16, 64)
    memory_mb: tuple[int, ...] = (80, 110, 160)
    hold_s: int = 15
    parallel: int = 64
    parallel_s: int = 60
    burst: int = min(64, 8 * (os.cpu_count() or 1))
    """On fewer than 8 cores, which the server made for tests shares, 64 processes show how busy these are."""
    batches: int = 10
    sync_runs: int = 1000
    jobs: tuple[int, ...] = (1, 2, 4)


FULL = Size()
SMALL = Size((1, 2), (80, 110), 2, 2, 3, 2, 1, 12, (1, 2))


def scripts(bench: Bench, repeats: int, size: Size) -> Iterator[Cells]:
    """The first script that starts a worker, and a later one that finds it: on all cores, and on one."""
    for where, prefix in (("", ()), (", one core", ONE_CORE)):
        cases = {
            "plain": Case(SHORT, prefix=prefix),
            "first": Case(SHORT, AGENT, prefix=prefix),
            "later": Case(SHORT, AGENT, prefix=prefix, before=1),
        }
        found = bench.in_turns(cases, repeats)
        for name, most_cpu_s, most_wall_s in (("first", 0.6, 0.6), ("later", 0.1, 0.12)):
            value: Callable[[Measured], float] = _all_cpu_s if not prefix else _wall_s
            what, limit = ("CPU of all processes", most_cpu_s) if not prefix else ("wall time", most_wall_s)
            plain, agent = median(found["plain"], value), median(found[name], value)
            workers = f", worker {median(found[name], lambda one: one.workers_cpu_s):.2f}" if not prefix else ""
            yield (
                f"{name} script of 200 points, {what}{where}", f"{plain:.2f} s",
                f"{agent:.2f} s ({agent - plain:+.2f}{workers})", f"≤ + {limit:g} s", agent - plain <= limit,
            )  # fmt: skip


def memory(bench: Bench, repeats: int, size: Size) -> Iterator[Cells]:
    """The memory of all workers while training processes hold their runs open."""
    for processes, limit in zip(size.processes, size.memory_mb, strict=True):
        found = bench.run(_load(processes, size.hold_s))
        yield (
            f"memory of the workers of {processes} training processes", "", f"{found.workers_mb:.0f} MB",
            f"≤ {limit} MB", found.workers_mb <= limit,
        )  # fmt: skip


def requests(bench: Bench, repeats: int, size: Size) -> Iterator[Cells]:
    """Requests of parallel runs with 20 points a second each, compared with those of one."""
    one, many = (bench.run(_load(count, size.parallel_s, rate=20), _LONG_S).requests for count in (1, size.parallel))
    most = 1.2 * one + 5 * size.parallel
    yield (
        f"requests, {size.parallel} runs of {size.parallel_s} s at once (plain: one run)", f"{one}", f"{many}",
        f"≤ 1.2 × one + 5 a run ({most:.0f})", many <= most,
    )  # fmt: skip


def burst(bench: Bench, repeats: int, size: Size) -> Iterator[Cells]:
    """When the last point is on the server, after many processes have logged as fast as they can."""
    found = bench.run(_load(size.burst, 0, batches=size.batches), _LONG_S)
    yield (
        f"{size.burst} processes × {size.batches * 1000:,} points: last point after the last process's end", "",
        f"{found.late_s:.1f} s", "≤ 5 s", found.late_s <= 5,
    )  # fmt: skip


def sync(bench: Bench, repeats: int, size: Size) -> Iterator[Cells]:
    """`sync --all` of a store, with more and more processes."""
    for jobs, least in zip(size.jobs, (25, 45, 0), strict=False):
        store = Store(runs=size.sync_runs, points=200, params=20)
        _, found = next(measure(store, "0", str(jobs)))
        speed = size.sync_runs / found.wall_s
        yield (
            f"`sync --all --jobs {jobs}`, {size.sync_runs:,} runs", "",
            f"{speed:.1f} runs/s, {1000 * found.cpu_s / size.sync_runs:.0f} ms of CPU a run",
            f"≥ {least} runs/s" if least else "", found.code == 0 and speed >= least if least else None,
        )  # fmt: skip


def _load(processes: int, seconds: int, rate: int = 0, batches: int = 0) -> Case:
    """Return a case: processes that log `batches` of 1,000 points at once, then `rate` points a second for so long."""
    return Case(PARALLEL, AGENT | {"LOAD": json.dumps([processes, seconds, rate, batches])})


def _all_cpu_s(measured: Measured) -> float:
    return measured.cpu_s + measured.workers_cpu_s


def _wall_s(measured: Measured) -> float:
    return measured.wall_s
