"""The console of a queued Task while it runs, and how it ends; against the server, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.clearml_api import task_events
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli import remote_console
from autoinstrument.cli.remote_console import TaskConsole, follow
from tests.clearml_server import ClearMLServer, Fault


@pytest.fixture
def task(server: ClearMLServer) -> str:
    project = Session().call("projects.create", name="team/wine")["id"]
    task_id = str(Session().call("tasks.create", name="queued", project=project, type="training")["id"])
    Session().call("tasks.enqueue", task=task_id, queue_name="gpu")
    return task_id


def send(task_id: str, *lines: tuple[int, str]) -> None:
    events: list[dict[str, Any]] = [
        {"type": "log", "task": task_id, "timestamp": time_ms, "msg": text, "worker": "a:0"} for time_ms, text in lines
    ]
    Session().add_events(events)


def test_each_line_once(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that arrive late, have the same time, or the same text; a page need not hold all."""
    monkeypatch.setattr(task_events, "_CONSOLE_PAGE", 2)
    console, begin = TaskConsole(Tasks(Session()), task), 1_700_000_000_000
    assert list(console.new()) == []
    send(task, (begin, "a"), (begin, "a"), (begin + 1, "b"), (begin + 2, "c"), (begin + 60_000, "d"))
    assert list(console.new()) == ["a", "a", "b", "c", "d"]
    assert list(console.new()) == []
    send(task, (begin + 60_000, "e"), (begin + 45_000, "late"), (begin + 60_000, "d"), (begin + 61_000, "f"))
    assert sorted(console.new()) == ["d", "e", "f", "late"]


def steps(monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], object]) -> None:
    """Run a step in each pause between two looks at the Task."""
    left = list(actions)
    monkeypatch.setattr(remote_console.time, "sleep", lambda _: left.pop(0)())


def followed(task_id: str) -> tuple[int, str, list[str]]:
    written, reported = list[str](), list[str]()
    code = follow(Tasks(Session()), task_id, written.append, reported.append)
    return code, "".join(written), reported


def started(task_id: str) -> None:
    Session().call("tasks.started", task=task_id, force=True)


def ended(task_id: str, status: str, reason: str = "") -> None:
    send(task_id, (2, "last\n"))
    Session().call(f"tasks.{status}", task=task_id, status_reason=reason, force=True)


@pytest.mark.parametrize(
    ("status", "reason", "code", "line"),
    [
        ("completed", "worker execution done", 0, ""),
        ("failed", "worker execution exit code 3", 3, "the Task has failed: worker execution exit code 3"),
        ("failed", "worker execution exit code -9", 137, "the Task has failed: worker execution exit code -9"),
        ("failed", "", 1, "the Task has failed"),
        ("stopped", "user abort", 1, "the Task was stopped: user abort"),
    ],
)
def test_the_end_of_a_task(
    task: str, monkeypatch: pytest.MonkeyPatch, status: str, reason: str, code: int, line: str
) -> None:
    steps(monkeypatch, lambda: (started(task), send(task, (1, "first"))), lambda: ended(task, status, reason))
    assert followed(task) == (code, "first\nlast\n", ["an agent has started it", *([line] if line else [])])


def test_a_server_that_is_away_for_a_while(task: str, server: ClearMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults.add(Fault("tasks.get_all", status=503, times=20))
    monkeypatch.setattr(remote_console.time, "sleep", lambda _: ended(task, "completed"))
    code, written, reported = followed(task)
    assert (code, written[:5], len(reported)) == (0, "last\n", 1)
    assert reported[0].startswith("ClearML does not answer, and is asked again: tasks.get_all: ")


@pytest.mark.parametrize(
    ("action", "line"),
    [
        ("tasks.dequeue", "the Task was taken out of its queue, or reset: it does not run"),
        ("tasks.delete", "the Task was deleted"),
    ],
)
def test_a_task_that_will_not_run(task: str, monkeypatch: pytest.MonkeyPatch, action: str, line: str) -> None:
    more = {"force": True} if action == "tasks.delete" else {}
    steps(monkeypatch, lambda: Session().call(action, task=task, **more))
    assert followed(task) == (1, "", [line])
