"""A run's metrics: the Task's scalar curves, and the single values of those that have one point.

A configuration object lists the points that no curve can hold.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.drawn_points import DrawnPoints
from autoinstrument.mirror.kinds.kind import Difference, Kind, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.metrics_part import MetricsPart
from autoinstrument.mirror.kinds.stored_curves import by_curve, compare
from autoinstrument.mirror.mapping.scalars import SUMMARY, Curve, can_have_row, curve, is_storable, row, same_number
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun

_LONGEST_FACT = 256 * 1024
_MOST_LAST_VALUES = 2000
"""Curves and single values of which a Task itself keeps the last value (clearml-server 2.x)."""


class Metrics(Kind):
    """Points come live as they are logged, and from the store as whole histories, in pages."""

    name = "metric"
    task_fields = ("last_metrics", "status")
    is_paged = True

    def part(self, context: RunContext) -> MetricsPart:
        """See `Kind.part`."""
        return MetricsPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return each metric's history, none of it read yet."""
        return run.histories()

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare only which curves there are, and the single values that are sure by the Task's count of points."""
        held = {
            (str(last.get("metric")), str(last.get("variant"))): last
            for variants in (of.task.get("last_metrics") or {}).values()
            for last in variants.values()
        }
        curves = {key: curve(key, of.settings.scalars) for key in of.stored.metrics}
        for key, value in of.stored.metrics.items():
            if not is_storable(value):
                continue
            if curves[key] not in held:
                yield Difference(self.name, f"{_shown(curves[key])}: missing")
            elif row(key) not in curves.values():
                yield from self._glance_at_row(key, value, held, curves[key], of)

    def _glance_at_row(
        self, key: str, value: float, held: Mapping[Curve, Mapping[str, Any]], drawn: Curve, of: TaskOfRun
    ) -> Iterator[Difference]:
        last = held.get(row(key))
        if last is None:
            has_one_point = held[drawn].get("count") == 1 and can_have_row(key)
            if has_one_point and len(held) < _MOST_LAST_VALUES and _takes_more(of):
                yield Difference(self.name, f"{key}: the single value is missing")
        elif not of.is_adopted and not _is_same(last.get("value"), value) and _takes_more(of):
            yield Difference(self.name, f"{key}: the single value is another")

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare every point with its curve, and the single values; values are compared as 32-bit floats."""
        curve_of = functools.partial(curve, titled_by=of.settings.scalars)
        task_id = str(of.task["id"])
        rows: dict[str, float] | None = None
        for drawn, histories in by_curve(data, curve_of).items():
            points = DrawnPoints(curve_of)
            compared = compare(histories, functools.partial(tasks.curve_points, task_id, *drawn), points)
            if compared.missing:
                first = f"the first at step {compared.first_missing}"
                yield Difference(self.name, f"{_shown(drawn)}: {compared.missing} points are missing, {first}")
            if compared.other:
                yield Difference(self.name, f"{_shown(drawn)}: {compared.other} points have other values")
            if rows is None:
                rows = _rows(tasks, task_id)
            if rows is not None and _takes_more(of):
                yield from self._compare_rows(points, rows, is_adopted=of.is_adopted)

    def _compare_rows(
        self, points: DrawnPoints, rows: Mapping[str, float], *, is_adopted: bool
    ) -> Iterator[Difference]:
        for key in points.last.metrics():
            _, name = row(key)
            wanted = points.last.wanted(key, has_row=name in rows)
            if wanted is None:
                continue
            if name not in rows:
                yield Difference(self.name, f"{key}: the single value is missing")
            elif not is_adopted and not _is_same(rows[name], wanted[1]):
                yield Difference(self.name, f"{key}: the single value is another")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield all steps and values of each metric, as a hash if they are many."""
        for history in data:
            if isinstance(history, History):
                points = sorted(
                    ((step, value) for page in history.pages() for _, value, _, step in page),
                    key=lambda point: (point[0], repr(point[1])),  # NaN has no order
                )
                text = repr(points)
                if len(text) > _LONGEST_FACT:
                    text = f"{len(points)} points, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
                yield f"metric {history.key}", text


def _rows(tasks: Tasks, task_id: str) -> dict[str, float] | None:
    """Return a Task's single values, None if the server is too old to have a call for that."""
    try:
        return tasks.single_values(task_id, SUMMARY)
    except RefusedError:
        return None


def _takes_more(of: TaskOfRun) -> bool:
    """Return False if the Task is published: it takes no more events."""
    return of.task.get("status") != "published"


def _is_same(held: object, wanted: float) -> bool:
    return isinstance(held, (int, float)) and is_storable(held) and same_number(held, wanted)


def _shown(curve: Curve) -> str:
    title, series = curve
    return title if title == series else f"{title}/{series}"
