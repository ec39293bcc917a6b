"""A run's metrics on their way into the Task's curves.

ClearML holds one point for each curve and iteration, MLflow any number. Of several points of one metric and step the
one with the latest time is drawn, and of those the greatest value: it is the one that MLflow, too, calls the latest.
What a curve does not hold is listed on the Task.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from autoinstrument.mirror import mapping
from autoinstrument.mirror.refusals import Refusals
from autoinstrument.records import MetricsLogged, Point, Record
from autoinstrument.to_clearml.tasks import Task, Tasks
from autoinstrument.transport.weight import POINT

MAX_POINTS = 200_000
"""Points of one run that wait for the server; what comes on top is left to `sync`, which reads it from MLflow."""
MAX_REMEMBERED = 100_000
"""Points of one run that are remembered, to tell which of several at one step is drawn."""
MAX_LISTED = 1000
"""Points that are listed as left out; the others are counted."""
_LIST_S = 30.0


class Curves:
    """A run's points; the events of those that wait go together with the console's.

    Attributes:
        incomplete: points were left to MLflow's store, which has them all.
        ending: the list of what is left out is not to wait for its turn.
    """

    def __init__(self, tasks: Tasks, refusals: Refusals) -> None:
        self.incomplete = False
        self.ending = False
        self._tasks = tasks
        self._refusals = refusals
        self._waiting: list[Point] = []
        self._held: Counter[tuple[str, str]] = Counter()
        self._drawn: dict[tuple[tuple[str, str], int], Point] = {}
        """By curve and step: `a` and `a/a` are one curve."""
        self._metrics: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._last_step: dict[str, int] = {}
        self._left_out: dict[str, dict[tuple[str, ...], None]] = {}
        self._uncounted: Counter[str] = Counter()
        self._changed = False
        self._list_at = 0.0

    def take(self, record: Record) -> None:
        """Remember the points of a record."""
        if isinstance(record, MetricsLogged):
            self._draw(_points(record))

    def take_history(self, record: MetricsLogged) -> None:
        """Take the whole history of one metric; nothing is sent where the Task holds as many points.

        Sending a point again overwrites it (same Task, iteration, title and series).
        """
        points = _points(record)
        if not points:
            return
        key = points[0][0]
        self._last_step.pop(key, None)
        self._left_out.pop(key, None)
        del self._uncounted[key]
        self._drawn = {place: point for place, point in self._drawn.items() if point[0] != key}
        waiting = [point for point in self._waiting if point[0] != key]
        self._waiting = []
        self._draw(sorted(points, key=lambda point: point[3]), bounded=False)
        curve, steps = mapping.curve(key), {point[3] for point in self._waiting}
        if self._held[curve] == len(self._waiting) == len(steps) and self._metrics[curve] == {key}:
            self._waiting = []
        self._waiting += waiting

    def held(self, points: dict[tuple[str, str], int]) -> None:
        """Note how many points the Task holds, by (title, series)."""
        self._held.update(points)

    def start_over(self) -> None:
        """Note that the Task is another one, and holds nothing."""
        self._held.clear()
        self._changed = bool(self._left_out)

    @property
    def has_work(self) -> bool:
        """True while points wait, or the list is to be written."""
        return bool(self._waiting) or self._is_due()

    @property
    def weight(self) -> int:
        """About how many bytes the points take that wait."""
        return POINT * len(self._waiting)

    def next(self, count: int) -> list[Point]:
        """Return the points that are next to be sent, `count` at most."""
        return self._waiting[:count]

    def drawn(self) -> dict[tuple[tuple[str, str], int], Point]:
        """Return which of the points that wait the curves are to hold, by curve and step."""
        return {(mapping.curve(point[0]), point[3]): point for point in self._waiting}

    def sent(self, points: list[Point]) -> None:
        """Note that the Task has the first of those that wait."""
        self._held.update(mapping.curve(point[0]) for point in points)
        del self._waiting[: len(points)]

    def send(self, task: Task) -> None:
        """List on the Task what its curves do not hold.

        Raises:
            ClearMLError: the server did not take it.
        """
        if self._is_due():
            lines = [line for lines in self._left_out.values() for line in lines]
            listed = mapping.points_left_out(lines, self._uncounted.total())
            self._refusals.send_each(functools.partial(self._tasks.set_configuration, task), [listed], _name)
            self._changed, self._list_at = False, time.monotonic() + _LIST_S

    def _is_due(self) -> bool:
        return self._changed and (self.ending or time.monotonic() >= self._list_at)

    def _draw(self, points: Iterable[Point], *, bounded: bool = True) -> None:
        for point in points:
            key, value, time_ms, step = point
            if mapping.scalar("", point) is None:
                self._leave_out(point, "no finite 32-bit float" if abs(step) < 2**63 else "step over 64 bits")
                continue
            place = mapping.curve(key), step
            self._metrics[place[0]].add(key)
            before = self._drawn.get(place)
            if before == point:
                continue
            if before is not None:
                is_later = (time_ms, value) > (before[2], before[1])
                self._leave_out(before if is_later else point, "another point of this step is drawn")
                if not is_later:
                    continue
            last_step = self._last_step.get(key)
            if before is not None or len(self._drawn) < MAX_REMEMBERED:
                self._drawn[place] = point
            elif bounded and last_step is not None and step <= last_step:
                self.incomplete = True  # whether there was one at this step before is not remembered
            self._last_step[key] = step if last_step is None else max(step, last_step)
            if bounded and len(self._waiting) >= MAX_POINTS:
                self.incomplete = True
            else:
                self._waiting.append(point)

    def _leave_out(self, point: Point, reason: str) -> None:
        key, value, time_ms, step = point
        if sum(map(len, self._left_out.values())) < MAX_LISTED:
            self._left_out.setdefault(key, {})[key, str(step), str(time_ms), repr(value), reason] = None
        else:
            self._uncounted[key] += 1
        self._changed = True


def _name(item: dict[str, str]) -> str:
    return f"the configuration {item['name']!r}"


def _points(record: MetricsLogged) -> list[Point]:
    return [(point[0], point[1], point[2], point[3]) for point in record.points]
