"""Find the metrics with one point on their curve: that point is also the metric's single value in ClearML."""

from __future__ import annotations

from autoinstrument.mirror.mapping.scalars import can_have_row
from autoinstrument.records import Point


class LastPoints:
    """The last point of each metric on its curve, and whether it is the only one."""

    def __init__(self) -> None:
        self._last: dict[str, Point] = {}
        self._several: set[str] = set()
        self._undrawable: dict[str, tuple[int, int]] = {}
        """Step and time of each metric's latest point that no curve can hold."""

    def begin(self, key: str) -> None:
        """Forget a metric."""
        self._last.pop(key, None)
        self._several.discard(key)
        self._undrawable.pop(key, None)

    def take(self, point: Point) -> None:
        """Take a point that its curve can hold."""
        key, value, time_ms, step = point
        last = self._last.get(key)
        if last is None:
            self._last[key] = point
            return
        if step != last[3]:
            self._several.add(key)
        if step > last[3] or (step == last[3] and (time_ms, value) >= (last[2], last[1])):
            self._last[key] = point

    def take_undrawable(self, point: Point) -> None:
        """Take a point that its curve cannot hold."""
        key, _, time_ms, step = point
        self._undrawable[key] = max((step, time_ms), self._undrawable.get(key, (step, time_ms)))

    def note_more(self, key: str) -> None:
        """Note that the Task has points of a metric that are not known here."""
        self._several.add(key)

    def last(self, key: str) -> Point | None:
        """Return a metric's last point, None if its curve has none."""
        return self._last.get(key)

    def single(self, key: str) -> Point | None:
        """Return a metric's only point, None if there are more, or if MLflow has a later one that is not a number."""
        last = self._last.get(key)
        if last is None or key in self._several or not can_have_row(key):
            return None
        later = self._undrawable.get(key)
        return last if later is None or later < (last[3], last[2]) else None

    def wanted(self, key: str, *, has_row: bool) -> Point | None:
        """Return the point whose value must be the metric's single value, None if it needs none.

        An event cannot be deleted: if a metric gets a second point after its single value was sent, for example
        because its run was resumed, the single value follows the last point.

        Args:
            key: name of the metric.
            has_row: the Task has a single value of this name.
        """
        return self.single(key) or (self._last.get(key) if has_row else None)

    def metrics(self) -> list[str]:
        """Return the names of all metrics that have a point on their curve."""
        return list(self._last)
