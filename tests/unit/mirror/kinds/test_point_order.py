"""A metric without steps is drawn over its order, whatever order and pages its store has, and in bounded memory."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoinstrument.mirror.kinds import point_order
from autoinstrument.mirror.kinds.point_order import NumberedHistory, UnnumberedPoints
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.records import Point

TIMES = st.integers(0, 6)
VALUES = st.sampled_from([0.5, 1.0, 2.0, float("nan")])


def stored(points: list[Point], page: int) -> History:
    pages = [points[at : at + page] for at in range(0, len(points), page)]
    return History("r", "loss", functools.partial(iter, pages))


def read(history: NumberedHistory) -> list[Point]:
    return [point for page in history.pages() for point in page]


@given(st.lists(st.tuples(TIMES, VALUES), max_size=30), st.integers(1, 7), st.integers(1, 5))
def test_points_are_numbered_by_time_and_value(points: list[tuple[int, float]], page: int, window: int) -> None:
    logged = stored([("loss", value, time_ms, 0) for time_ms, value in points], page)
    wanted = sorted({(time_ms, value) for time_ms, value in points if value == value})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point_order, "WINDOW", window)
        history = NumberedHistory(logged)
        for _ in range(2):  # a history is read more than once
            found = [point for point in read(history) if point[1] == point[1]]
            assert found == [("loss", value, time_ms, at) for at, (time_ms, value) in enumerate(wanted)]


@given(st.lists(st.tuples(TIMES, VALUES, st.integers(0, 1)), max_size=20), st.integers(1, 3))
def test_one_step_that_a_curve_can_hold_leaves_all_as_they_are(points: list[tuple[int, float, int]], page: int) -> None:
    logged = [("loss", value, time_ms, step) for time_ms, value, step in [*points, (9, 1.0, 3)]]
    random.Random(0).shuffle(logged)
    history = NumberedHistory(stored(logged, page))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point_order, "WINDOW", 1)
        assert [list(map(repr, read(history))) for _ in range(2)] == [list(map(repr, logged))] * 2


def test_points_that_do_not_fit_are_left_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_order, "MAX_HELD", 2)
    points = UnnumberedPoints()
    assert [points.hold(("loss", 1.0, time_ms, 0)) for time_ms in range(3)] == [True, True, False]
    assert points.are_unplaced
    assert points.series() == []
    points.note_store_read()
    assert not points.are_unplaced


def test_the_first_step_returns_the_points_that_are_not_drawn() -> None:
    points = UnnumberedPoints()
    for time_ms, value in ((2, 1.0), (1, 2.0), (2, 3.0)):
        points.hold(("loss", value, time_ms, 0))
    others, unplaced = points.note_steps("loss")
    assert [point[1] for point in others] == [2.0, 1.0]
    assert unplaced is None
    assert points.has_steps("loss")
    points.note_unknown("acc")  # the Task has points of it
    assert not points.hold(("acc", 1.0, 1, 0))
    assert points.are_unplaced
    assert points.note_steps("acc") == ([], ("acc", 1.0, 1, 0))
    assert not points.are_unplaced
