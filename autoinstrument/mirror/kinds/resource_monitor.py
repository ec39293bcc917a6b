"""Figures of the machine, its GPUs and the run's processes, as ClearML's own monitor reports them.

MLflow does not hold them: only the worker of a running training knows them, and `sync` and `verify` leave them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import CapturedKind, RunPart
from autoinstrument.mirror.mapping.scalars import is_storable
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import MetricsLogged, Record

MACHINE, GPU = ":monitor:machine", ":monitor:gpu"
"""ClearML's titles; the server does not count their iterations among those of the Task."""
_SYSTEM = "system/"
"""Beginning of the names of MLflow's system metrics (mlflow 2.16 to 3.17), which have steps of their own."""
_MOST_REPORTS = 200
_POINT = 150
"""About how many bytes of memory a value takes that waits."""


class _Report(NamedTuple):
    iteration: int
    time_ms: int
    values: dict[str, float]


class ResourceMonitor(CapturedKind):
    """By title `:monitor:machine` or `:monitor:gpu`, and ClearML's names of the series."""

    name = "monitor"

    def part(self, context: RunContext) -> ResourceMonitorPart:
        """See `Kind.part`."""
        return ResourceMonitorPart(context)


class ResourceMonitorPart(RunPart):
    """Reports on their way to the Task.

    As with `ResourceMonitor.daemon` (clearml 1.16 to 2.1.12), a report belongs to the training's last iteration; if it
    has none in its first three minutes (or the time that is configured), to the seconds since the run began. Several
    reports at one iteration are averaged.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._waiting: list[_Report] = []
        self._sending = 0
        self._undecided: list[_Report] = []
        """Reports by seconds, until it is known whether the training has iterations."""
        self._by_seconds: bool | None = None
        self._step = self._step_reported = 0
        self._at_step: dict[str, tuple[float, int]] = {}
        """Sum and number of the values that were reported at this iteration, by name."""
        self._has_ended = False
        context.events.add(self)

    def take(self, record: Record) -> None:
        """Note the training's last iteration."""
        if isinstance(record, MetricsLogged):
            steps = (step for key, _, _, step in record.points if step < 2**63 and not key.startswith(_SYSTEM))
            self._step = max(self._step, max(steps, default=0))

    def add(self, values: Mapping[str, float], time_ms: int, watched_s: float, settings: MonitorSettings) -> None:
        """Take one report.

        Args:
            values: by ClearML's names of the series.
            time_ms: time of the report.
            watched_s: seconds since the run is watched, which may have begun long before.
            settings: what ClearML's configuration says.
        """
        began_ms = self._context.run.start_time_ms or time_ms - int(watched_s * 1000)
        report = _Report(max(0, (time_ms - began_ms) // 1000), time_ms, dict(values))
        if self._step and (self._by_seconds is None or watched_s <= settings.most_wait_s):
            self._by_seconds = False
        elif self._by_seconds is None and (watched_s >= settings.wait_s or self._has_ended):
            self._by_seconds = True
        self._undecided.append(report)
        if self._by_seconds is not None:
            self._release()

    def _release(self) -> None:
        reports, self._undecided = self._undecided, []
        if self._by_seconds:
            self._waiting += reports
        elif reports:
            if self._step != self._step_reported:
                self._step_reported, self._at_step = self._step, {}
            elif self._waiting and self._waiting[-1].iteration == self._step:
                self._waiting.pop()
            for name, value in (item for report in reports for item in report.values.items()):
                total, count = self._at_step.get(name, (0.0, 0))
                self._at_step[name] = total + value, count + 1
            averages = {name: total / count for name, (total, count) in self._at_step.items()}
            self._waiting.append(_Report(self._step, reports[-1].time_ms, averages))
        while len(self._waiting) > _MOST_REPORTS:  # the server has been away for long: a coarser curve of all that time
            times = [report.time_ms for report in self._waiting]
            del self._waiting[min(range(1, len(times) - 1), key=lambda at: times[at + 1] - times[at - 1])]

    @property
    def has_work(self) -> bool:
        """True while reports wait."""
        return bool(self._waiting)

    @property
    def weight(self) -> int:
        """About how many bytes the reports take."""
        return _POINT * sum(len(report.values) for report in (*self._waiting, *self._undecided))

    @property
    def has_events(self) -> bool:
        """True while reports wait."""
        return bool(self._waiting)

    def next_events(self, task: Task, count: int) -> list[dict[str, Any]]:
        """Return the events of whole reports, about `count` at most."""
        events: list[dict[str, Any]] = []
        self._sending = 0
        for report in self._waiting:
            if len(events) >= count:
                break
            events += _events(task.id, report)
            self._sending += 1
        return events

    def events_sent(self) -> None:
        """Note that the Task has the events that `next_events` returned last."""
        del self._waiting[: self._sending]
        self._sending = 0

    def send(self, task: Task) -> None:
        """Send the reports."""
        self._context.events.send(task)

    def end(self) -> None:
        """Note that no iteration will come."""
        self._has_ended = True
        if self._undecided:
            self._by_seconds = not self._step
            self._release()

    def reopen(self) -> None:
        """Note that the run goes on."""
        self._has_ended = False


def _events(task_id: str, report: _Report) -> list[dict[str, Any]]:
    return [
        {
            "type": "training_stats_scalar",
            "task": task_id,
            "iter": report.iteration,
            "timestamp": report.time_ms,
            "metric": GPU if name.startswith("gpu_") else MACHINE,
            "variant": name,
            "value": round(value, 3),
        }
        for name, value in report.values.items()
        if is_storable(value)
    ]
