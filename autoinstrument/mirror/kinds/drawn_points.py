"""Which point of a metric its curve holds: ClearML keeps one for each curve and iteration, MLflow any number.

Of several points of one metric and step the one with the latest time is drawn, and of those the greatest value: the
one that MLflow, too, calls the latest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from autoinstrument.mirror.mapping.scalars import curve, points_left_out, why_not_drawable
from autoinstrument.records import Point

MAX_REMEMBERED = 100_000
"""Points of one run that are remembered, to decide which of several at one step is drawn.

Of a longer history the last points are remembered. A database gives points by step, so that those of one step are
together. A server gives them by time: a point that replaces a forgotten one is the later one in any case, and only the
list of points left out may lack the other. A folder gives them as they were logged: the one that was logged last is
drawn if MAX_REMEMBERED / 2 others stand between the two.
"""
MAX_LISTED = 1000
"""Points that are listed as left out; the others are counted."""


class LeftOutPoints:
    """The points that no curve holds.

    Attributes:
        has_changed: True while the Task's list is another one.
    """

    def __init__(self) -> None:
        self.has_changed = False
        self._lines: dict[str, dict[tuple[str, ...], None]] = {}
        self._uncounted: Counter[str] = Counter()

    def add(self, point: Point, reason: str) -> None:
        """Add a point."""
        key, value, time_ms, step = point
        if sum(map(len, self._lines.values())) < MAX_LISTED:
            self._lines.setdefault(key, {})[key, str(step), str(time_ms), repr(value), reason] = None
        else:
            self._uncounted[key] += 1
        self.has_changed = True

    def begin(self, key: str) -> None:
        """Forget a metric's points: its whole history follows."""
        self._lines.pop(key, None)
        self._uncounted.pop(key, None)

    def start_over(self) -> None:
        """Note that the next Task is another one, without a list."""
        self.has_changed = bool(self._lines)

    def as_configuration(self) -> dict[str, str]:
        """Return the configuration object that lists the points."""
        return points_left_out([line for lines in self._lines.values() for line in lines], self._uncounted.total())

    def listed(self) -> None:
        """Note that the Task has the list."""
        self.has_changed = False


class DrawnPoints:
    """The points that a run's curves hold, as far as they are remembered.

    Attributes:
        left_out: all other points.
    """

    def __init__(self) -> None:
        self.left_out = LeftOutPoints()
        self._drawn: defaultdict[tuple[str, str], dict[int, Point]] = defaultdict(dict)
        """By curve and step: the metrics `a` and `a/a` are one curve."""
        self._count = 0
        self._has_forgotten = False
        self._is_in_doubt = False
        self._metrics: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._last_step: dict[str, int] = {}

    @property
    def is_in_doubt(self) -> bool:
        """True if only MLflow's store knows which point of some step is drawn, because others were forgotten."""
        return self._is_in_doubt

    def is_only_metric(self, key: str) -> bool:
        """Return True if no other metric is drawn into the same curve."""
        return self._metrics[curve(key)] == {key}

    def draw(self, points: Iterable[Point]) -> Iterator[Point]:
        """Yield those of the next points, as they are logged, that a curve must hold now."""
        return self._draw(points, bounded=True)

    def draw_page(self, points: Iterable[Point]) -> list[Point]:
        """Return those of the next points of a metric's history that its curve must hold; see `begin`."""
        return list({point[3]: point for point in self._draw(points, bounded=False)}.values())

    def begin(self, key: str) -> None:
        """Forget a metric's points, before its whole history; of other curves, too, if there are many."""
        of = curve(key)
        self._last_step.pop(key, None)
        self.left_out.begin(key)
        if self._count > MAX_REMEMBERED // 2:
            self._drawn = defaultdict(dict, {of: self._drawn[of]})
        self._drawn[of] = {step: point for step, point in self._drawn[of].items() if point[0] != key}
        self._count = sum(map(len, self._drawn.values()))
        self._metrics[of].add(key)

    def can_draw(self, point: Point) -> bool:
        """Return True if a curve can hold a point; list one that it cannot."""
        reason = why_not_drawable(point)
        if reason:
            self.left_out.add(point, reason)
        return not reason

    def forget(self) -> None:
        """Free memory: the run is complete, and no more points are expected."""
        self._has_forgotten = self._has_forgotten or self._count > 0
        self._drawn.clear()
        self._count = 0

    def reopen(self) -> None:
        """Note that more points are expected."""
        self._is_in_doubt = self._is_in_doubt or self._has_forgotten

    def note_store_read(self) -> None:
        """Note that MLflow's store has decided every doubt."""
        self._is_in_doubt = False

    def _draw(self, points: Iterable[Point], *, bounded: bool) -> Iterator[Point]:
        for point in points:
            key, value, time_ms, step = point
            if not self.can_draw(point):
                continue
            of = curve(key)
            self._metrics[of].add(key)
            before = self._drawn[of].get(step)
            if before == point:
                continue
            if before is not None:
                is_later = (time_ms, value) > (before[2], before[1])
                self.left_out.add(before if is_later else point, "another point of this step is drawn")
                if not is_later:
                    continue
            self._remember(of, point, is_new=before is None, bounded=bounded)
            yield point

    def _remember(self, of: tuple[str, str], point: Point, *, is_new: bool, bounded: bool) -> None:
        key, _, _, step = point
        last_step = self._last_step.get(key)
        is_beyond = last_step is not None and step > last_step
        if bounded and self._has_forgotten and is_new and not is_beyond:
            self._is_in_doubt = True
        if not is_new:
            self._drawn[of][step] = point
        elif self._count < MAX_REMEMBERED or (not bounded and self._forget_half(of)):
            self._drawn[of][step] = point
            self._count += 1
        elif bounded and last_step is not None and not is_beyond:
            self._is_in_doubt = True  # it is not remembered whether there was a point at this step
        self._last_step[key] = step if last_step is None else max(step, last_step)

    def _forget_half(self, of: tuple[str, str]) -> bool:
        """Make room: forget other curves, and the half of this one that was drawn first."""
        kept = list(self._drawn[of].items())[-MAX_REMEMBERED // 2 :]
        self._drawn = defaultdict(dict, {of: dict(kept)})
        self._count = len(kept)
        return True
