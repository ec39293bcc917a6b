"""The work that is due for a running run, given the results of searches."""

from __future__ import annotations

import pytest

from autoinstrument.mlflow_store.new_points import ReadPosition
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import Point, RunStarted
from autoinstrument.sync.followed_run import FollowedRun
from autoinstrument.sync.running_run import Extent, Progress, must_restart
from autoinstrument.sync.selection import Outcome

RUN = RunStarted("r", "name", "0", "exp", "sqlite:////x", "", "", 0, "", {}, True, True, "")
FOLLOWED = Outcome("r", "name", "followed", "")


def seen(*latest: Point, **tags: str) -> StoredRun:
    return StoredRun(RUN._replace(tags=tags), "RUNNING", False, {}, {}, latest)


def followed(*latest: Point) -> FollowedRun:
    """Return a run whose Task has all points up to the first one."""
    run = FollowedRun(seen(), 0.0)
    run.note(seen(*latest), 5.0)
    assert run.take(
        FOLLOWED, Progress("t", True, "prefix", {"a": ReadPosition(3, ("a", 0.5, 1000, 7))}, "none", True), 5.0
    )
    return run


@pytest.mark.parametrize(
    ("latest", "is_read"),
    [
        (("a", 0.5, 1000, 7), None), (("a", 0.4, 1001, 8), False), (("a", 0.4, 1001, 7), False),
        (("a", 0.4, 1001, 9), True), (("a", 0.4, 1001, 3), True), (("b", 0.4, 1001, 0), True),
    ],
)  # fmt: skip
def test_a_history_is_read_only_if_there_may_be_other_points(latest: Point, is_read: bool | None) -> None:
    run = followed(latest)
    key = latest[0]
    position = ReadPosition(3, ("a", 0.5, 1000, 7)) if key == "a" else ReadPosition()
    assert (run.unread() == {key: position}) == bool(is_read)
    assert run.points.get(key) == ([] if is_read is None else None if is_read else [latest])
    run.read({key: [latest]} if is_read else {})
    assert len(run.events()) == (is_read is not None)
    run.sent(6.0, is_refused=False)
    assert run.unread() == {}
    assert run.events() == []


def test_a_run_with_refused_points_is_compared_as_a_whole() -> None:
    run = followed(("a", 0.4, 1001, 8))
    assert not run.is_due(6.0)
    run.unread()
    run.sent(6.0, is_refused=True)
    assert not run.is_due(10.0), "not at once"
    assert run.is_due(11.0)
    assert run.extent(11.0, has_task=True) == Extent(histories=True)


def test_pauses_between_attempts_grow() -> None:
    run = followed()
    now, pauses = 10.0, []
    for _ in range(6):
        run.give_up(now)
        pauses.append(next(pause for pause in range(100) if run.is_due(now + pause)))
        now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert run.take(FOLLOWED._replace(result="failed"), None, now), "a failure is news"
    assert not run.take(FOLLOWED, None, now)


def test_files_of_a_quiet_run_are_listed_rarely() -> None:
    run = followed()
    now = 5.0

    def pause() -> int:
        return next(pause for pause in range(100) if run.are_files_due(now + pause))

    for expected in (20, 40, 60, 60):
        run.note_files("none", now)
        assert pause() == expected
    run.note(seen(("a", 0.4, 1001, 8)), now + 1)
    assert pause() == 10
    run.note_files("others", now)
    assert pause() == 10
    assert run.is_due(now), "its Task lacks a file"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({}, False),
        ({"status": "in_progress"}, False),
        ({"status": "published"}, False),
        ({"status": "created"}, True),
        ({"status": "completed", "hyperparams": {"properties": {"mlflow_run_ended": {"value": "2026"}}}}, True),
        ({"status": "completed", "status_reason": "completed"}, False),
        ({"status": "failed", "status_reason": "the process ended with exit code 3"}, True),
        ({"status": "failed", "status_reason": "the data set is wrong"}, False),
        ({"status": "stopped", "status_reason": "enough"}, False),
        ({"status": "stopped", "status_reason": "MLflow: KILLED"}, True),
        ({"status": "stopped", "status_message": "Forced stop (non-responsive)"}, True),
        (
            {"id": "t", "status": "failed", "hyperparams": {"properties": {"mlflow_task_adopted": {"value": "t"}}}},
            False,
        ),
    ],
)
def test_which_tasks_run_again(task: dict[str, object], expected: bool) -> None:
    assert must_restart(task) == expected
