"""Give each run the figures of its machine, GPUs and processes, as the monitor of ClearML's `Task.init` does.

The figures are read on other threads (`monitor.sampler`); nothing here waits for them.
"""

from __future__ import annotations

import time
from functools import partial

from autoinstrument.monitor.gpu_session import GpuSession
from autoinstrument.monitor.run_figures import RunFigures, WatchedProcess
from autoinstrument.monitor.sampler import Sampler
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.run_registry import RunRegistry

_REPORT_S = 30.0
"""Seconds between two reports: the default of ClearML's monitor (clearml 1.16 to 2.1.12)."""
_LEAST_S = 5.0
"""A run has at least one report if it lasts so long, the last one at its end."""


class ResourceMonitor:
    """Reports at the same moments for all runs, so that the reports share a request; for the worker's loop.

    Args:
        period_s: seconds between two readings, 0 for none.
        with_gpus: read the GPUs. Not where the worker is a thread and processes are forked: one that is forked while a
            library holds a lock could never use that library.
    """

    def __init__(self, period_s: float, *, with_gpus: bool) -> None:
        self._is_on = period_s > 0
        self._report_s = max(_REPORT_S, period_s)
        self._sampler = Sampler(period_s, GpuSession() if with_gpus else None)
        self._figures: dict[str, RunFigures] = {}
        self._report_at = 0.0

    def update(self, runs: RunRegistry) -> None:
        """Note which runs are open now, and report if that is due; a run that has ended gets its last report."""
        if not self._is_on:
            return
        watched = {run_id: mirror for run_id in runs.open if not (mirror := runs.mirrors[run_id]).has_own_monitor}
        for run_id in [run_id for run_id in self._figures if run_id not in watched]:
            figures, ended = self._figures.pop(run_id), runs.mirrors.get(run_id)
            if ended is not None and not ended.has_own_monitor:
                _report(ended, figures)
        for run_id in watched:
            figures = self._figures.get(run_id) or self._figures.setdefault(run_id, RunFigures(self._sampler))
            connected = [each for each in runs.processes if run_id in each.runs and each.pid and each.gone_at is None]
            if connected:
                figures.processes = [
                    WatchedProcess(each.pid, each.started.devices if each.started is not None else {})
                    for each in connected
                ]
        self._sampler.watch({process.pid for figures in self._figures.values() for process in figures.processes})
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + self._report_s
            for run_id, mirror in watched.items():
                _report(mirror, self._figures[run_id])


def _report(mirror: LiveRun, figures: RunFigures) -> None:
    now = time.monotonic()
    if now - figures.since >= _LEAST_S and (values := figures.report()):
        mirror.do(partial(mirror.add_figures, values, int(time.time() * 1000), now - figures.began))
