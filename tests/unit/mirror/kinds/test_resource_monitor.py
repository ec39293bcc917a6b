"""The iterations at which a run's machine figures are reported, and the reports that wait for a server."""

from __future__ import annotations

import itertools
import types
from typing import Any, cast

import pytest

from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.resource_monitor import ResourceMonitorPart
from autoinstrument.records import MetricsLogged

TASK = cast(Task, types.SimpleNamespace(id="task"))
BEGAN_MS = 1_600_000_000_000
DEFAULT = MonitorSettings()


@pytest.fixture
def part() -> ResourceMonitorPart:
    events = types.SimpleNamespace(add=lambda part: None)
    run = types.SimpleNamespace(start_time_ms=BEGAN_MS)
    return ResourceMonitorPart(cast(RunContext, types.SimpleNamespace(run=run, events=events)))


def report(
    part: ResourceMonitorPart, second: int, cpu: float = 1.0, *, resumed_s: int = 0, settings: MonitorSettings = DEFAULT
) -> None:
    part.add({"cpu_usage": cpu}, BEGAN_MS + (resumed_s + second) * 1000, second, settings)


def logged(*steps: int, key: str = "loss") -> MetricsLogged:
    return MetricsLogged("run", [(key, 1.0, 0, step) for step in steps])


def sent(part: ResourceMonitorPart) -> list[tuple[int, float]]:
    events: list[dict[str, Any]] = []
    while part.has_events:
        events += part.next_events(TASK, 50)
        part.events_sent()
    return [(event["iter"], event["value"]) for event in events]


def test_titles_series_and_times_are_clearmls(part: ResourceMonitorPart) -> None:
    values = {"cpu_usage": 1.23456, "gpu_0_utilization": 2.0, "memory_free_gb": float("nan")}
    part.add(values, BEGAN_MS + 200_000, 200, DEFAULT)
    common = {"type": "training_stats_scalar", "task": "task", "iter": 200, "timestamp": BEGAN_MS + 200_000}
    assert part.next_events(TASK, 50) == [
        {**common, "metric": ":monitor:machine", "variant": "cpu_usage", "value": 1.235},
        {**common, "metric": ":monitor:gpu", "variant": "gpu_0_utilization", "value": 2.0},
    ]


def test_seconds_after_three_minutes_without_an_iteration(part: ResourceMonitorPart) -> None:
    """Metrics without a step, which MLflow puts at step 0, and MLflow's system metrics do not count as iterations."""
    part.take(logged(0, 0))
    part.take(logged(7, key="system/cpu_utilization_percentage"))
    for second in range(30, 180, 30):
        report(part, second)
    assert not part.has_work
    report(part, 180)
    report(part, 210)
    assert [iteration for iteration, _ in sent(part)] == [30, 60, 90, 120, 150, 180, 210]


def test_iterations_as_soon_as_there_are_some(part: ResourceMonitorPart) -> None:
    """Several reports at one iteration are averaged, with those from before the first one."""
    report(part, 30, 10.0)
    part.take(logged(1, 5))
    report(part, 60, 20.0)
    assert sent(part) == [(5, 15.0)]
    report(part, 90, 60.0)
    assert sent(part) == [(5, 30.0)]
    part.take(logged(6, 2))
    report(part, 120, 50.0)
    assert sent(part) == [(6, 50.0)]


def test_late_iterations_count_for_half_an_hour(part: ResourceMonitorPart) -> None:
    report(part, 200)
    part.take(logged(3))
    report(part, 230)
    assert [iteration for iteration, _ in sent(part)] == [200, 3]


def test_later_iterations_do_not_count(part: ResourceMonitorPart) -> None:
    report(part, 200)
    part.take(logged(3))
    report(part, 1830)
    assert [iteration for iteration, _ in sent(part)] == [200, 1830]


def test_times_that_are_configured(part: ResourceMonitorPart) -> None:
    settings = MonitorSettings(wait_s=10.0, most_wait_s=60.0)
    report(part, 10, settings=settings)
    part.take(logged(3))
    report(part, 61, settings=settings)
    assert [iteration for iteration, _ in sent(part)] == [10, 61]


def test_a_short_run_gets_its_figures_at_the_end(part: ResourceMonitorPart) -> None:
    part.end()
    report(part, 10)
    assert [iteration for iteration, _ in sent(part)] == [10]


def test_reports_that_are_undecided_at_the_end(part: ResourceMonitorPart) -> None:
    report(part, 30)
    part.end()
    report(part, 40)
    assert [iteration for iteration, _ in sent(part)] == [30, 40]


def test_seconds_of_a_resumed_run_go_on(part: ResourceMonitorPart) -> None:
    report(part, 180, resumed_s=5000)
    assert [iteration for iteration, _ in sent(part)] == [5180]


def test_waiting_reports_are_bounded_and_cover_all_the_time(part: ResourceMonitorPart) -> None:
    for second in range(200, 200 + 30 * 3000, 30):
        report(part, second)
    assert part.weight < 200 * 150 * 2
    iterations = [iteration for iteration, _ in sent(part)]
    assert iterations == sorted(iterations)
    assert iterations[0] == 200
    assert iterations[-1] == 200 + 30 * 2999
    assert max(b - a for a, b in itertools.pairwise(iterations)) < 30 * 100


def test_reports_that_the_server_did_not_take_are_sent_again(part: ResourceMonitorPart) -> None:
    report(part, 200)
    first = part.next_events(TASK, 50)
    report(part, 230)
    assert part.next_events(TASK, 50)[: len(first)] == first
    assert part.next_events(TASK, 0) == []
    part.events_sent()
    assert len(sent(part)) == 2
