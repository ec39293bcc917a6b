"""The curves that MLflow's store gives a run, and how they differ from those of its Task."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from autoinstrument.mirror.kinds import scalar_diff
from autoinstrument.mirror.kinds.drawn_points import DrawnPoints
from autoinstrument.mirror.kinds.kind import StoredData
from autoinstrument.mirror.kinds.point_order import NumberedHistory
from autoinstrument.mirror.kinds.scalar_diff import ScalarDiff
from autoinstrument.mirror.mapping.scalars import Curve
from autoinstrument.mlflow_store.metric_history import History


def by_curve(data: Iterable[StoredData], curve_of: Callable[[str], Curve]) -> dict[Curve, list[NumberedHistory]]:
    """Return histories as their curves must hold them, those of one curve together: `a` and `a/a` are one."""
    groups = dict[Curve, list[NumberedHistory]]()
    for history in data:
        if isinstance(history, History):
            groups.setdefault(curve_of(history.key), []).append(NumberedHistory(history))
    return groups


def compare(
    histories: Sequence[NumberedHistory], curve_points: Callable[[], Iterable[tuple[int, float]]], points: DrawnPoints
) -> ScalarDiff:
    """Compare the points that a curve must hold, by the histories of its metrics, with those that the Task has.

    Both are read side by side; only if the steps go back by more than a window, all of the curve is held in memory.

    Args:
        histories: those of `by_curve`.
        curve_points: reads the Task's curve.
        points: gets the points of the histories.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
        ClearMLError: the curve cannot be read.
    """

    def compare_within(window: int) -> ScalarDiff:
        compared = ScalarDiff(curve_points(), window)
        for history in histories:
            points.begin(history.key)
        for history in histories:
            for page in history.pages():
                for _, value, _, step in points.draw_page(page):
                    compared.take(step, value)
        return compared

    try:
        return compare_within(scalar_diff.WINDOW)
    except scalar_diff.ForgottenError:
        return compare_within(sys.maxsize)
