"""A run's metrics: the Task's scalar curves. A configuration object lists the points that no curve can hold."""

from __future__ import annotations

import functools
import hashlib
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.mirror.kinds import scalar_diff
from autoinstrument.mirror.kinds.drawn_points import DrawnPoints
from autoinstrument.mirror.kinds.kind import Delivery, Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.kinds.scalar_diff import ScalarDiff
from autoinstrument.mirror.mapping.scalars import curve, is_storable, scalar
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import MetricsLogged, Point, Record
from autoinstrument.transport.budget import POINT
from autoinstrument.transport.limits import RUN_POINTS

_LIST_S = 30.0
_LONGEST_FACT = 256 * 1024


class Metrics(Kind):
    """Points come live as they are logged, and from the store as whole histories, in pages."""

    name = "metric"
    task_fields = ("last_metrics",)
    is_paged = True

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _MetricsPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return each metric's history, none of it read yet."""
        return run.histories()

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare only which curves there are."""
        held = {
            (last.get("metric"), last.get("variant"))
            for variants in (of.task.get("last_metrics") or {}).values()
            for last in variants.values()
        }
        for key, value in of.stored.metrics.items():
            if is_storable(value) and curve(key) not in held:
                yield Difference(self.name, f"{_shown(curve(key))}: missing")

    def compare(self, of: TaskOfRun, data: Iterable[StoredData], tasks: Tasks) -> Iterator[Difference]:
        """Compare every point with its curve; values are compared as 32-bit floats."""
        for histories in _by_curve(data):
            compared = _compare(histories, functools.partial(tasks.curve_points, str(of.task["id"])), DrawnPoints())
            name = _shown(curve(histories[0].key))
            if compared.missing:
                first = f"the first at step {compared.first_missing}"
                yield Difference(self.name, f"{name}: {compared.missing} points are missing, {first}")
            if compared.other:
                yield Difference(self.name, f"{name}: {compared.other} points have other values")

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


class _MetricsPart(RunPart):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._points = DrawnPoints()
        self._is_incomplete = False
        self._has_ended = False
        self._is_exact = False
        self._waiting: list[Point] = []
        self._sending = 0
        self._held: Counter[tuple[str, str]] = Counter()
        """How many points the Task's curves hold, by title and series."""
        self._on_task: ScalarDiff | None = None
        """What the Task's curve lacks of the metric whose history is being taken, if that was compared."""
        self._list_at = 0.0
        context.events.add(self)

    # Data

    def take(self, record: Record) -> None:
        if isinstance(record, MetricsLogged):
            for point in self._points.draw((point[0], point[1], point[2], point[3]) for point in record.points):
                if len(self._waiting) < RUN_POINTS:
                    self._waiting.append(point)
                else:
                    self._is_incomplete = True

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        """Take whole histories, and send the points that the Task lacks; the last ones wait."""
        for history in (each for histories in _by_curve(data) for each in histories):
            if delivery.task is None:
                delivery.flush_without_end()  # only a Task that is there shows how much of the history it holds
            if delivery.task is None or self._holds(history, delivery.task):
                continue
            for page in history.pages():
                drawn = self._points.draw_page(page)
                compared = self._on_task
                self._waiting += (point for point in drawn if compared is None or compared.differs(point[3]))
                if len(self._waiting) >= MAX_EVENTS:
                    delivery.flush_without_end()

    def _holds(self, history: History, task: Task) -> bool:
        """Prepare for a metric's whole history; return True if the Task holds it.

        The server's count of points decides if each step has one point; else, and for an exact comparison, the curve is
        read, so that only points are sent that it lacks or holds with other values.

        Raises:
            mlflow.exceptions.MlflowException: the store does not answer.
            ClearMLError: the curve cannot be read.
        """
        self._waiting = [point for point in self._waiting if point[0] != history.key]
        self._points.begin(history.key)
        self._on_task = None
        held = self._held[curve(history.key)]
        if not held:
            return False
        if not self._is_exact and self._counts_match(history, held):
            return True
        if self._points.is_only_metric(history.key):  # else another metric's point at a step may be on its way
            curve_points = functools.partial(self._context.tasks.curve_points, task.id)
            compared = _compare([history], curve_points, self._points)
            if not compared.missing and not compared.other:
                return True
            self._on_task = compared
        self._points.begin(history.key)
        return False

    def _counts_match(self, history: History, held: int) -> bool:
        """Return True if a history has one point a step, and as many as the Task counts."""
        if not self._points.is_only_metric(history.key):
            return False
        count, last_step = 0, -math.inf
        for page in history.pages():
            for point in page:
                if not self._points.can_draw(point):
                    continue
                count += 1
                if point[3] <= last_step or count > held:
                    return False
                last_step = point[3]
        return count == held

    @property
    def has_work(self) -> bool:
        return bool(self._waiting) or self._is_list_due()

    @property
    def weight(self) -> int:
        return POINT * len(self._waiting)

    @property
    def is_incomplete(self) -> bool:
        return self._is_incomplete or self._points.is_in_doubt

    # Delivery

    @property
    def has_events(self) -> bool:
        return bool(self._waiting)

    def next_events(self, task: Task, count: int) -> list[dict[str, Any]]:
        points = self._waiting[:count]
        self._sending = len(points)
        return [event for point in points if (event := scalar(task.id, point))]

    def events_sent(self) -> None:
        self._held.update(curve(point[0]) for point in self._waiting[: self._sending])
        del self._waiting[: self._sending]
        self._sending = 0

    def found(self, task: Task, *, is_given: bool) -> None:
        self._held = Counter(task.points)

    def send(self, task: Task) -> None:
        self._context.events.send(task)
        if self._is_list_due():
            left_out = self._points.left_out
            set_some = functools.partial(self._context.tasks.set_configuration, task)
            self._context.rejections.send_each(
                set_some, [left_out.as_configuration()], lambda item: f"the configuration {item['name']!r}"
            )
            left_out.listed()
            self._list_at = time.monotonic() + _LIST_S

    def _is_list_due(self) -> bool:
        return self._points.left_out.has_changed and (self._has_ended or time.monotonic() >= self._list_at)

    # The run's course

    def compare_exactly(self) -> None:
        self._is_exact = True

    def start_over(self) -> None:
        self._held.clear()
        self._points.left_out.start_over()

    def end(self) -> None:
        self._has_ended = True

    def reopen(self) -> None:
        self._has_ended = False
        self._points.reopen()

    def free_memory(self) -> None:
        self._points.forget()
        self._on_task = None

    def note_store_read(self) -> None:
        self._is_incomplete = False
        self._points.note_store_read()


def _compare(
    histories: Sequence[History], curve_points: Callable[[str, str], Iterable[tuple[int, float]]], points: DrawnPoints
) -> ScalarDiff:
    """Compare the points that a curve must hold, by the histories of its metrics, with those that the Task has.

    Both are read side by side; only if the steps go back by more than a window, all of the curve is held in memory.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
        ClearMLError: the curve cannot be read.
    """

    def compare(window: int) -> ScalarDiff:
        compared = ScalarDiff(curve_points(*curve(histories[0].key)), window)
        for history in histories:
            points.begin(history.key)
        for history in histories:
            for page in history.pages():
                for _, value, _, step in points.draw_page(page):
                    compared.take(step, value)
        return compared

    try:
        return compare(scalar_diff.WINDOW)
    except scalar_diff.ForgottenError:
        return compare(sys.maxsize)


def _by_curve(data: Iterable[StoredData]) -> Iterable[list[History]]:
    """Return histories in groups that are drawn into one curve: `a` and `a/a` are one."""
    groups = dict[tuple[str, str], list[History]]()
    for history in data:
        if isinstance(history, History):
            groups.setdefault(curve(history.key), []).append(history)
    return groups.values()


def _shown(curve: tuple[str, str]) -> str:
    title, series = curve
    return title if title == series else f"{title}/{series}"
