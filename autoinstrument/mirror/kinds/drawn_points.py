"""Choose the points of a metric that its curve holds: ClearML keeps one per curve and iteration, MLflow any number.

Of several points of one metric and step the one with the latest time is drawn, and of those the greatest value: the
one that MLflow, too, calls the latest. Metrics without steps are numbered first, see `point_order`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

from autoinstrument.mirror.kinds.last_points import LastPoints
from autoinstrument.mirror.kinds.point_order import UnnumberedPoints
from autoinstrument.mirror.mapping.scalars import Curve, points_left_out, row, why_not_drawable
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
_OTHER_DRAWN = "another point of this step is drawn"


class LeftOutPoints:
    """The points that no curve holds.

    Attributes:
        has_changed: True while the Task's list is another one.
    """

    def __init__(self) -> None:
        self.has_changed = False
        self._lines: dict[str, dict[tuple[str, ...], None]] = {}
        self._listed = 0
        self._uncounted: Counter[str] = Counter()

    def add(self, point: Point, reason: str) -> None:
        """Add a point."""
        key, value, time_ms, step = point
        if self._listed < MAX_LISTED:
            lines = self._lines.setdefault(key, {})
            self._listed -= len(lines)
            lines[key, str(step), str(time_ms), repr(value), reason] = None
            self._listed += len(lines)
        else:
            self._uncounted[key] += 1
        self.has_changed = True

    def begin(self, key: str) -> None:
        """Forget a metric's points: its whole history follows."""
        gone = self._lines.pop(key, {})
        self._listed -= len(gone)
        self._uncounted.pop(key, None)
        self.has_changed = self.has_changed or bool(gone)

    def start_over(self) -> None:
        """Note that the next Task is another one, without a list."""
        self.has_changed = bool(self._lines)

    def list_again(self) -> None:
        """Note that the Task's list must be written again."""
        self.has_changed = True

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
        last: the last point of each metric.
        unnumbered: points of metrics without steps, while they are logged.
    """

    def __init__(self, curve_of: Callable[[str], Curve]) -> None:
        """`curve_of` returns the curve of a metric."""
        self.left_out = LeftOutPoints()
        self.last = LastPoints()
        self.unnumbered = UnnumberedPoints()
        self._curve_of = curve_of
        self._on_task: Collection[Curve] = ()
        self._drawn: defaultdict[Curve, dict[int, Point]] = defaultdict(dict)
        """By curve and step: the metrics `a` and `a/a` are one curve."""
        self._count = 0
        self._has_forgotten = False
        self._is_in_doubt = False
        self._metrics: defaultdict[Curve, set[str]] = defaultdict(set)
        self._last_step: dict[str, int] = {}

    @property
    def is_in_doubt(self) -> bool:
        """True if only MLflow's store knows which point of some step is drawn, because others were forgotten."""
        return self._is_in_doubt or self.unnumbered.are_unplaced

    def note_on_task(self, curves: Collection[Curve]) -> None:
        """Note the curves that the Task has, with points that are not known here; single values count as curves."""
        self._on_task = curves
        for key in self.last.metrics():
            self._note_more(key)

    def _note_more(self, key: str) -> None:
        """Note what the Task has of a metric of which points are logged: they may change what it must have."""
        if self._curve_of(key) in self._on_task:
            self.last.note_more(key)
            self.unnumbered.note_unknown(key)
            self._is_in_doubt = self._is_in_doubt or row(key) in self._on_task

    def is_only_metric(self, key: str) -> bool:
        """Return True if no other metric is drawn into the same curve."""
        return self._metrics[self._curve_of(key)] == {key}

    def draw(self, points: Iterable[Point]) -> Iterator[Point]:
        """Yield those of the next points, as they are logged, that a curve must hold now."""
        return self._draw(self._placed(points), bounded=True)

    def _placed(self, points: Iterable[Point]) -> Iterator[Point]:
        """Yield the points whose place is known; the others wait for the end of the run, or for the store."""
        for point in points:
            key, step = point[0], point[3]
            if self.unnumbered.has_steps(key) or why_not_drawable(point):
                yield point
                continue
            if self._on_task and self.last.last(key) is None:
                self._note_more(key)
            if step:
                others, unplaced = self.unnumbered.note_steps(key)
                for other in others:
                    self.left_out.add(other, _OTHER_DRAWN)
                if unplaced is not None:
                    yield unplaced
                yield point
            elif self.unnumbered.hold(point):
                yield point
            else:
                self.last.take(point)

    def draw_page(self, points: Iterable[Point]) -> list[Point]:
        """Return those of the next points of a metric's history that its curve must hold; see `begin`."""
        return list({point[3]: point for point in self._draw(points, bounded=False)}.values())

    def begin(self, key: str, *, whole: bool = True) -> None:
        """Forget a metric's points, before its history; of other curves, too, if there are many.

        Args:
            key: name of the metric.
            whole: the history has the points that no curve can hold, too; else these stay listed.
        """
        of = self._curve_of(key)
        self._last_step.pop(key, None)
        if whole:
            self.left_out.begin(key)
        self.last.begin(key)
        self.unnumbered.begin(key)
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
            self.last.take_undrawable(point)
        else:
            self.last.take(point)
        return not reason

    def forget(self) -> None:
        """Free memory: the run is complete, and no more points are expected."""
        self._has_forgotten = self._has_forgotten or self._count > 0
        self._drawn.clear()
        self._count = 0
        self.unnumbered.forget()

    def reopen(self) -> None:
        """Note that more points are expected."""
        self._is_in_doubt = self._is_in_doubt or self._has_forgotten

    def note_store_read(self) -> None:
        """Note that MLflow's store has decided every doubt."""
        self._is_in_doubt = False
        self.unnumbered.note_store_read()

    def _draw(self, points: Iterable[Point], *, bounded: bool) -> Iterator[Point]:
        for point in points:
            key, value, time_ms, step = point
            if not self.can_draw(point):
                continue
            of = self._curve_of(key)
            self._metrics[of].add(key)
            before = self._drawn[of].get(step)
            if before == point:
                continue
            if before is not None:
                is_later = (time_ms, value) > (before[2], before[1])
                is_held = bounded and step == 0 and before[0] == key and not self.unnumbered.has_steps(key)
                if not is_held:
                    self.left_out.add(before if is_later else point, _OTHER_DRAWN)
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
