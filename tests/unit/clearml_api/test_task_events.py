"""Points are sent in one batch and read back in pages."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api import task_events
from autoinstrument.clearml_api.errors import TooLargeError
from autoinstrument.clearml_api.tasks import Task, Tasks
from tests.clearml_server import ClearMLServer

pytestmark = pytest.mark.parametrize("task", ["running"], indirect=True)


def point(task: Task, step: int) -> dict[str, Any]:
    return {
        "type": "training_stats_scalar",
        "task": task.id,
        "timestamp": 1_600_000_000_000 + step,
        "iter": step,
        "metric": "val",
        "variant": "loss",
        "value": step / 2,
    }


def test_points_come_back_by_iteration(
    server: ClearMLServer, tasks: Tasks, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_events, "_PAGE", 3)
    tasks.add_events([point(task, step) for step in (5, 1, 4, 0, 3, 2, 6)])
    server.clear_requests()
    assert list(tasks.curve_points(task.id, "val", "loss")) == [(step, step / 2) for step in range(7)]
    assert len(server.calls("events.scalar_metrics_iter_raw")) >= 3
    assert list(tasks.curve_points(task.id, "val", "no such series")) == []


def test_a_curve_without_end_is_not_read(tasks: Tasks, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "_PAGE", 2)
    monkeypatch.setattr(task_events, "MAX_POINTS", 4)
    tasks.add_events([point(task, step) for step in range(9)])
    with pytest.raises(TooLargeError, match="over 4 points"):
        list(tasks.curve_points(task.id, "val", "loss"))


def test_no_events_are_no_request(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    server.clear_requests()
    tasks.add_events([])
    assert server.requests == []
