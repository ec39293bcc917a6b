"""Give each run the figures of its machine, GPUs and processes, as the monitor of ClearML's `Task.init` does.

The figures are read on other threads (`monitor.sampler`); nothing here waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.monitor.gpu_session import GpuSession
from autoinstrument.monitor.run_figures import RunFigures, WatchedProcess
from autoinstrument.monitor.sampler import Sampler
from autoinstrument.worker.jobs import Aside
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.run_registry import RunRegistry

_REPORT_S = 30.0
"""Seconds between two reports: the default of ClearML's monitor (clearml 1.16 to 2.1.12)."""
_LEAST_S = 5.0
"""A run has at least one report if it lasts so long, the last one at its end."""


class MonitorReporter:
    """Reports at the same moments for all runs, so that the reports share a request; for the worker's loop.

    Args:
        period_s: seconds between two readings, 0 for none.
        aside: see `jobs.Aside`.
        settings: returns what ClearML's configuration says; the first call may take a second.
        with_gpus: read the GPUs. Not where the worker is a thread and processes are forked: one that is forked while a
            library holds a lock could never use that library.
    """

    def __init__(
        self, period_s: float, aside: Aside, settings: Callable[[], MonitorSettings], *, with_gpus: bool
    ) -> None:
        self._is_on = period_s > 0
        self._aside, self._read_settings = aside, settings
        self._settings = MonitorSettings()
        self._has_asked = False
        self._report_s = max(_REPORT_S, period_s)
        self._sampler = Sampler(period_s, GpuSession() if with_gpus else None)
        self._figures: dict[str, RunFigures] = {}
        self._report_at = 0.0

    def update(self, runs: RunRegistry) -> None:
        """Note which runs are open now, and report if that is due; a run that has ended gets its last report."""
        if not self._is_on:
            return
        if runs.open and not self._has_asked:
            self._has_asked = True
            self._aside(self._read_settings, self._configure)
        watched = {run_id: mirror for run_id in runs.open if not (mirror := runs.mirrors[run_id]).has_own_monitor}
        for run_id in [run_id for run_id in self._figures if run_id not in watched]:
            figures, ended = self._figures.pop(run_id), runs.mirrors.get(run_id)
            if ended is not None and not ended.has_own_monitor:
                self._report(ended, figures)
        for run_id in watched:
            figures = self._figures.get(run_id) or self._figures.setdefault(run_id, RunFigures(self._sampler))
            if connected := runs.processes_of(run_id):
                figures.watch([WatchedProcess(each.pid, each.devices, runs.node_of(each)) for each in connected])
        self._sampler.watch({process.pid for figures in self._figures.values() for process in figures.processes})
        is_due = time.monotonic() >= self._report_at
        if is_due:
            self._report_at = time.monotonic() + self._report_s
        for run_id, mirror in watched.items():
            figures = self._figures[run_id]
            if is_due or (self._settings.first_report_s is not None and not figures.has_reported):
                self._report(mirror, figures)

    def _configure(self, settings: MonitorSettings | None) -> None:
        self._settings = settings or self._settings

    def _report(self, mirror: LiveRun, figures: RunFigures) -> None:
        now, first_s = time.monotonic(), self._settings.first_report_s
        least_s = _LEAST_S if figures.has_reported or first_s is None else first_s
        if now - figures.since >= least_s and (values := figures.report(of_machine=self._settings.of_machine)):
            watched_s = now - figures.began
            # The first machine, which has begun the run, has ClearML's names.
            node = min((process.node for process in figures.processes), default=0) if mirror.run.resumed else 0
            values = {f"{name} (node {node})": value for name, value in values.items()} if node > 0 else values
            mirror.do(partial(mirror.add_figures, values, int(time.time() * 1000), watched_s, self._settings))
