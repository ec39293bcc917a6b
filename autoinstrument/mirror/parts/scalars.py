"""A run's metrics on their way into the Task's curves.

ClearML holds one point for each curve and iteration, MLflow any number. Of several points of one metric and step the
one with the latest time is drawn, and of those the greatest value: it is the one that MLflow, too, calls the latest.
What a curve does not hold is listed on the Task.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror import mapping
from autoinstrument.mirror.parts import scalar_diff
from autoinstrument.mirror.parts.scalar_diff import ScalarDiff
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.records import MetricsLogged, Point, Record
from autoinstrument.transport.budget import POINT
from autoinstrument.transport.limits import RUN_POINTS

MAX_REMEMBERED = 100_000
"""Points of one run that are remembered, to tell which of several at one step is drawn.

Of a history that is longer, those that came last are. Points come by step (a database), so that those of one step are
together; or by time (a server), so that one which takes the place of a forgotten one is the later one all the same, and
only the list of what is left out may lack the other. In a folder they come as they were logged: there the one that was
logged last is drawn, should MAX_REMEMBERED / 2 others stand between the two.
"""
MAX_LISTED = 1000
"""Points that are listed as left out; the others are counted."""
_LIST_S = 30.0


class ScalarsPart:
    """A run's points; the events of those that wait go together with the console's.

    Attributes:
        incomplete: points were left to MLflow's store, which has them all.
        ending: the list of what is left out is not to wait for its turn.
        exact: histories are compared point by point also where the Task holds as many points.
    """

    def __init__(self, tasks: Tasks, rejections: Rejections) -> None:
        self.incomplete = False
        self.ending = False
        self.exact = False
        self._tasks = tasks
        self._rejections = rejections
        self._waiting: list[Point] = []
        self._held: Counter[tuple[str, str]] = Counter()
        self._drawn: defaultdict[tuple[str, str], dict[int, Point]] = defaultdict(dict)
        """By curve and step: `a` and `a/a` are one curve."""
        self._remembered = 0
        self._forgot = False
        """What was drawn is forgotten: of points that come all the same MLflow's store is to tell which is drawn."""
        self._on_task: ScalarDiff | None = None
        """What the Task's curve lacks of the metric whose history is being taken, where that was compared."""
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

    def holds(self, history: History, task: Task) -> bool:
        """Make ready for a metric's whole history; tell whether the Task holds it, so that nothing is to be sent.

        The server's count of points tells, where each step has one point; else, and if `exact` is set, the curve is
        read, so that only what is missing or other there will be sent.

        Raises:
            mlflow.exceptions.MlflowException: the store does not answer.
            ClearMLError: the curve cannot be read.
        """
        curve = mapping.curve(history.key)
        self._begin(history.key)
        self._on_task = None
        if not self._held[curve]:
            return False
        if not self.exact and self._counts_match(history, self._held[curve]):
            return True
        if self._metrics[curve] == {history.key}:  # else what another metric sends at a step may be on its way
            compared = self.compare([history], task.id)
            if not compared.missing and not compared.other:
                return True
            self._on_task = compared
        self._begin(history.key)
        return False

    def take_page(self, points: list[Point]) -> None:
        """Take the next points of the history of one metric, but for those that the Task holds; see `holds`.

        Sending a point again overwrites it (same Task, iteration, title and series).
        """
        drawn = self._drawn_of(points)
        compared = self._on_task
        self._waiting += drawn if compared is None else (point for point in drawn if compared.differs(point[3]))

    def compare(self, histories: Sequence[History], task_id: str) -> ScalarDiff:
        """Compare what the histories of one curve make of it with what the Task holds.

        Both are read side by side; only where the steps go back by more than a window, all of the curve is in memory.

        Raises:
            mlflow.exceptions.MlflowException: the store does not answer.
            ClearMLError: the curve cannot be read.
        """
        try:
            return self._compare(histories, task_id, scalar_diff.WINDOW)
        except scalar_diff.ForgottenError:
            return self._compare(histories, task_id, sys.maxsize)

    def _compare(self, histories: Sequence[History], task_id: str, window: int) -> ScalarDiff:
        curve = mapping.curve(histories[0].key)
        compared = ScalarDiff(self._tasks.curve_points(task_id, *curve), window)
        for history in histories:
            self._begin(history.key)
        for history in histories:
            for page in history.pages():
                for _, value, _, step in self._drawn_of(page):
                    compared.take(step, value)
        return compared

    def _drawn_of(self, points: list[Point]) -> list[Point]:
        """Return which of the next points of a metric's history its curve is to hold, as far as it was read."""
        waiting, self._waiting = self._waiting, []
        self._draw(points, bounded=False)
        drawn = {point[3]: point for point in self._waiting}
        self._waiting = waiting
        return list(drawn.values())

    def _begin(self, key: str) -> None:
        """Forget what is known of a metric's points, before its history; of other curves', too, if they are many."""
        curve = mapping.curve(key)
        self._last_step.pop(key, None)
        self._left_out.pop(key, None)
        self._uncounted.pop(key, None)
        self._waiting = [point for point in self._waiting if point[0] != key]
        if self._remembered > MAX_REMEMBERED // 2:
            self._drawn = defaultdict(dict, {curve: self._drawn[curve]})
        self._drawn[curve] = {step: point for step, point in self._drawn[curve].items() if point[0] != key}
        self._remembered = sum(map(len, self._drawn.values()))
        self._metrics[curve].add(key)

    def _counts_match(self, history: History, held: int) -> bool:
        """Tell whether a history is of as many points as the Task counts, one a step; notes what no curve can hold."""
        if self._metrics[mapping.curve(history.key)] != {history.key}:
            return False
        count, last_step = 0, -math.inf
        for page in history.pages():
            for point in page:
                if not self._is_drawable(point):
                    continue
                count += 1
                if point[3] <= last_step or count > held:
                    return False
                last_step = point[3]
        return count == held

    def held(self, points: dict[tuple[str, str], int]) -> None:
        """Note how many points the Task holds, by (title, series)."""
        self._held.update(points)

    def forget(self) -> None:
        """Free what is remembered of points: the run is complete, and no more are expected."""
        self._forgot = self._forgot or self._remembered > 0
        self._drawn.clear()
        self._remembered = 0
        self._on_task = None

    def reopen(self) -> None:
        """Note that the run goes on."""
        self.ending = False
        self.incomplete = self.incomplete or self._forgot

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
            self._rejections.send_each(functools.partial(self._tasks.set_configuration, task), [listed], _name)
            self._changed, self._list_at = False, time.monotonic() + _LIST_S

    def _is_due(self) -> bool:
        return self._changed and (self.ending or time.monotonic() >= self._list_at)

    def _draw(self, points: Iterable[Point], *, bounded: bool = True) -> None:
        for point in points:
            key, value, time_ms, step = point
            if not self._is_drawable(point):
                continue
            curve = mapping.curve(key)
            self._metrics[curve].add(key)
            before = self._drawn[curve].get(step)
            if before == point:
                continue
            if before is not None:
                is_later = (time_ms, value) > (before[2], before[1])
                self._leave_out(before if is_later else point, "another point of this step is drawn")
                if not is_later:
                    continue
            last_step = self._last_step.get(key)
            if bounded and self._forgot and before is None and (last_step is None or step <= last_step):
                self.incomplete = True
            if before is not None:
                self._drawn[curve][step] = point
            elif self._remembered < MAX_REMEMBERED or (not bounded and self._forget_half(curve)):
                self._drawn[curve][step] = point
                self._remembered += 1
            elif bounded and last_step is not None and step <= last_step:
                self.incomplete = True  # whether there was one at this step before is not remembered
            self._last_step[key] = step if last_step is None else max(step, last_step)
            if bounded and len(self._waiting) >= RUN_POINTS:
                self.incomplete = True
            else:
                self._waiting.append(point)

    def _is_drawable(self, point: Point) -> bool:
        """Tell whether a curve can hold a point; one that it cannot is listed."""
        if mapping.is_storable(point[1]) and -(2**63) <= point[3] < 2**63:
            return True
        self._leave_out(point, "no finite 32-bit float" if abs(point[3]) < 2**63 else "step over 64 bits")
        return False

    def _forget_half(self, curve: tuple[str, str]) -> bool:
        """Make room: forget other curves, and the half of this one that was drawn first."""
        kept = list(self._drawn[curve].items())[-MAX_REMEMBERED // 2 :]
        self._drawn = defaultdict(dict, {curve: dict(kept)})
        self._remembered = len(kept)
        return True

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
