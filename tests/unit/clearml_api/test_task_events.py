"""Points are sent in one batch and read back in pages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoinstrument.clearml_api import task_events
from autoinstrument.clearml_api.errors import TooLargeError
from autoinstrument.clearml_api.session import Session
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


def test_no_request_without_events(server: ClearMLServer, tasks: Tasks, task: Task) -> None:
    server.clear_requests()
    tasks.add_events([])
    assert server.requests == []


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_deleted_task_is_noticed_in_each_part_of_a_batch(
    server: ClearMLServer, session: Session, tasks: Tasks, task: Task, part: int
) -> None:
    """The SDK cuts a batch that is too large for one request, and gives all responses."""
    events = [point(task, step) for step in range(30)]
    events.insert(12 * part, {**point(task, 0), "task": "0123456789abcdef"})
    sdk_session = session.login.session()
    (limit,) = [name for name in vars(sdk_session) if name.endswith("max_req_size")]
    setattr(sdk_session, limit, len(json.dumps(events)) // 2 - 50)
    server.clear_requests()
    assert tasks.add_events(events) == {"0123456789abcdef"}
    assert len(server.calls("events.add_batch")) == 3
    assert len(list(tasks.curve_points(task.id, "val", "loss"))) == 30
