"""One run's metrics on their way to its Task."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from autoinstrument.clearml_api.tasks import Task, points_of
from autoinstrument.clone_run.settings import OBJECT, kept
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.event_batches import MAX_EVENTS
from autoinstrument.mirror.kinds.drawn_points import DrawnPoints
from autoinstrument.mirror.kinds.kind import Delivery, RunPart, StoredData
from autoinstrument.mirror.kinds.point_order import NumberedHistory
from autoinstrument.mirror.kinds.scalar_diff import ScalarDiff
from autoinstrument.mirror.kinds.stored_curves import by_curve, compare
from autoinstrument.mirror.mapping.scalars import (
    LEFT_OUT,
    SUMMARY,
    Curve,
    curve,
    is_storable,
    row,
    same_number,
    scalar,
    single_value,
)
from autoinstrument.records import MetricsLogged, Point, Record
from autoinstrument.transport.budget import POINT
from autoinstrument.transport.limits import RUN_POINTS

_LIST_S = 30.0


class MetricsPart(RunPart):
    """Points of the live feed, or of whole histories, and what follows from them at the run's end."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._titled_by = context.settings.scalars
        self._points = DrawnPoints(self._curve)
        self._is_incomplete = self._has_ended = self._is_left = False
        self._is_exact = self._is_reading = False
        self._waiting: list[Point] = []
        self._waiting_at_0: dict[str, Point] = {}
        """The latest point of each metric at step 0: without steps, many come at once, and each replaces the last."""
        self._waiting_rows: list[Point] = []
        self._sending = self._sending_rows = 0
        self._held: Counter[Curve] = Counter()
        """How many points the Task's curves hold, by title and series; single values count as curves."""
        self._rows: dict[str, float] | None = {}
        """The Task's single values by name, None if they must be read."""
        self._on_task: ScalarDiff | None = None
        """Points that the Task's curve lacks of the metric whose history is being taken, if that was compared."""
        self._list_at = 0.0
        context.events.add(self)

    def _curve(self, key: str) -> Curve:
        return curve(key, self._titled_by)

    # Data

    def take(self, record: Record) -> None:
        if isinstance(record, MetricsLogged):
            for point in self._points.draw((point[0], point[1], point[2], point[3]) for point in record.points):
                if point[3] == 0:
                    self._waiting_at_0[point[0]] = point
                elif len(self._waiting) < RUN_POINTS:
                    self._waiting.append(point)
                else:
                    self._is_incomplete = True

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        """Take whole histories, and send the points that the Task lacks; the last ones wait."""
        self._is_reading = True
        try:
            for histories in by_curve(data, self._curve).values():
                for history in histories:
                    self._begin(history.key)
                for history in histories:
                    self._take_history(history, delivery)
        finally:
            self._is_reading = False
        if self._is_left:
            self.note_store_read()
        if delivery.task is not None and LEFT_OUT in delivery.task.configuration:
            self._points.left_out.list_again()  # the list may be that of an earlier version

    def _take_history(self, history: NumberedHistory, delivery: Delivery) -> None:
        if delivery.task is None:
            delivery.flush_without_end()  # only a Task that is there shows how much of the history it holds
        if delivery.task is None or self._holds(history, delivery.task):
            return
        for page in history.pages():
            drawn = self._points.draw_page(page)
            compared = self._on_task
            self._waiting += (point for point in drawn if compared is None or compared.differs(point[3]))
            if len(self._waiting) >= MAX_EVENTS:
                delivery.flush_without_end()

    def _begin(self, key: str, *, whole: bool = True) -> None:
        """Forget a metric, before its history; see `DrawnPoints.begin`."""
        self._waiting = [point for point in self._waiting if point[0] != key]
        self._waiting_at_0.pop(key, None)
        self._points.begin(key, whole=whole)

    def _holds(self, history: NumberedHistory, task: Task) -> bool:
        """Prepare for a metric's whole history; return True if the Task holds it.

        The server's count of points decides if each step has one point; else, and for an exact comparison, the curve is
        read, so that only points are sent that it lacks or holds with other values.

        Raises:
            mlflow.exceptions.MlflowException: the store does not answer.
            ClearMLError: the curve cannot be read.
        """
        self._on_task = None
        of = self._curve(history.key)
        held = self._held[of]
        if not held:
            return False
        if not self._is_exact and self._counts_match(history, held):
            return True
        if self._points.is_only_metric(history.key):  # else another metric's point at a step may be on its way
            curve_points = functools.partial(self._context.tasks.curve_points, task.id, *of)
            compared = compare([history], curve_points, self._points)
            if not compared.missing and not compared.other:
                return True
            self._on_task = compared
        self._points.begin(history.key)
        return False

    def _counts_match(self, history: NumberedHistory, held: int) -> bool:
        """Return True if a history has one point a step, and as many as the Task counts.

        Without steps the count says nothing: all points may have been sent as the latest one, at step 0.
        """
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
        return count == held and (count == 1 or not history.is_numbered)

    @property
    def has_work(self) -> bool:
        return self.has_events or self._is_left or self._is_list_due()

    @property
    def weight(self) -> int:
        return POINT * (len(self._waiting) + len(self._waiting_at_0) + len(self._waiting_rows))

    @property
    def is_incomplete(self) -> bool:
        return self._is_incomplete or self._points.is_in_doubt

    @property
    def awaits_store(self) -> bool:
        return self._is_left and self.is_incomplete

    # Delivery

    @property
    def has_events(self) -> bool:
        return bool(self._waiting or self._waiting_at_0 or self._waiting_rows)

    def next_events(self, task: Task, count: int) -> list[dict[str, Any]]:
        self._waiting += self._waiting_at_0.values()
        self._waiting_at_0.clear()
        points = self._waiting[:count]
        rows = self._waiting_rows[: count - len(points)]
        self._sending, self._sending_rows = len(points), len(rows)
        events = [event for point in points if (event := scalar(task.id, point, self._titled_by))]
        return events + [single_value(task.id, point) for point in rows]

    def events_sent(self) -> None:
        self._held.update(self._curve(point[0]) for point in self._waiting[: self._sending])
        for point in self._waiting_rows[: self._sending_rows]:
            self._held[row(point[0])] += 1
            if self._rows is not None:
                self._rows[row(point[0])[1]] = point[1]
        del self._waiting[: self._sending], self._waiting_rows[: self._sending_rows]
        self._sending = self._sending_rows = 0

    def found(self, task: Task, *, is_given: bool) -> None:
        self._use_settings_of(task)
        self._held, self._rows = Counter(), {}
        self._note_held(task.points)
        self._points.note_on_task(frozenset(task.points))

    def restarted(self, task: Task) -> None:
        """Read the present state of the Task: it had ended, and `sync` may have completed it."""
        self._note_held(points_of(self._context.tasks.get(task.id)))

    def _note_held(self, points: dict[Curve, int]) -> None:
        self._held |= Counter(points)
        if any(title == SUMMARY for title, _ in points):
            self._rows = None

    def _use_settings_of(self, task: Task) -> None:
        """Draw curves as the Task's settings say: the run may go on in another environment."""
        settings = self._context.settings
        titled_by = kept(task.configuration[OBJECT], settings).scalars if OBJECT in task.configuration else ""
        if titled_by and titled_by != self._titled_by:
            self._titled_by, self._points, self._is_incomplete = titled_by, DrawnPoints(self._curve), True

    def conclude(self, task: Task) -> None:
        """Number the metrics without steps, and queue the single values."""
        if self._is_reading or not self._are_all_here(task):
            return
        for key in self._points.unnumbered.series():
            history = self._points.unnumbered.history(self._context.run.run_id, key)
            self._begin(key, whole=False)
            for page in history.pages():
                self._waiting += self._points.draw_page(page)
        self._waiting_rows = list(self._rows_to_send(task))

    def _are_all_here(self, task: Task) -> bool:
        """Return False if only the store can number the metrics without steps: other workers may have sent points."""
        keys = self._points.unnumbered.series()
        if keys:
            on_task = points_of(self._context.tasks.get(task.id))
            is_alone = all(on_task.get(self._curve(key), 0) <= self._held[self._curve(key)] for key in keys)
            if not is_alone or not all(map(self._points.is_only_metric, keys)):
                self._note_held(on_task)
                for key in keys:
                    self._points.unnumbered.note_unknown(key)
                return False
        return True

    def _rows_to_send(self, task: Task) -> Iterable[Point]:
        wanted = {
            row(key)[1]: point
            for key in self._points.last.metrics()
            if (point := self._points.last.wanted(key, has_row=bool(self._held[row(key)]) and not task.adopted))
        }
        if wanted and self._rows is None:
            self._rows = self._context.tasks.single_values(task.id, SUMMARY)
        for name, point in wanted.items():
            held = (self._rows or {}).get(name)
            if held is None or not (task.adopted or (is_storable(held) and same_number(held, point[1]))):
                yield point

    def send(self, task: Task) -> None:
        if self._is_left and not self.is_incomplete:
            self.conclude(task)
            self._is_left = self.is_incomplete
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
        self._rows = {}
        self._points.left_out.start_over()

    def end(self) -> None:
        self._has_ended = True

    def reopen(self) -> None:
        self._has_ended = False
        self._points.reopen()

    def leave(self, *, lacks_records: bool) -> None:
        """Send what follows from these points at a run's end: the machine that ends the run does not know them."""
        self._is_left = lacks_records or bool(self._points.last.metrics())
        self._is_incomplete = self._is_incomplete or lacks_records

    def free_memory(self) -> None:
        self._is_left = False
        self._points.forget()
        self._on_task = None

    def note_store_read(self) -> None:
        self._is_incomplete = False
        self._points.note_store_read()
