"""A curve is compared as if it and all points that it must hold were in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoinstrument.mirror.kinds import scalar_diff
from autoinstrument.mirror.kinds.scalar_diff import ForgottenError, ScalarDiff

STEPS = st.integers(-3, 30)
VALUES = st.sampled_from([0.0, -0.0, 0.5, 0.1])  # SQLite forgets the sign of zero


def compared(curve: dict[int, float], points: list[tuple[int, float]], window: int) -> ScalarDiff:
    comparison = ScalarDiff(sorted(curve.items()), window)
    for step, value in points:
        comparison.take(step, value)
    return comparison


@given(st.dictionaries(STEPS, VALUES), st.lists(st.tuples(STEPS, VALUES)), st.booleans(), st.integers(1, 5))
def test_differences_are_found(
    curve: dict[int, float], points: list[tuple[int, float]], is_sorted: bool, window: int
) -> None:
    if is_sorted:
        points.sort(key=lambda point: point[0])
    try:
        found = compared(curve, points, window)
    except ForgottenError:
        assert not is_sorted
        found = compared(curve, points, sys.maxsize)
    wanted = dict(points)
    missing = wanted.keys() - curve.keys()
    other = {step for step in wanted.keys() & curve.keys() if wanted[step] != curve[step]}
    assert (found.missing, found.other) == (len(missing), len(other))
    assert not missing or found.first_missing == min(missing)
    assert {step for step in range(-3, 31) if found.differs(step)} == missing | other


@given(st.dictionaries(STEPS, VALUES), st.dictionaries(STEPS, VALUES))
def test_differences_beyond_the_counted_ones_are_found(curve: dict[int, float], wanted: dict[int, float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scalar_diff, "COUNTED", 2)
        found = compared(curve, sorted(wanted.items()), 1)
    missing = wanted.keys() - curve.keys()
    other = {step for step in wanted.keys() & curve.keys() if wanted[step] != curve[step]}
    assert (found.missing, found.other) == (len(missing), len(other))
    assert {step for step in range(-3, 31) if found.differs(step)} >= missing | other


def test_only_a_window_is_held() -> None:
    read = 0

    def curve() -> Iterator[tuple[int, float]]:
        nonlocal read
        for read in range(1000):
            yield read, 0.0

    comparison = ScalarDiff(curve(), 10)
    for step in range(500):
        comparison.take(step, 0.0)
        assert read == step
        assert len(comparison._steps) <= 20
    with pytest.raises(ForgottenError):
        comparison.take(450, 0.0)
