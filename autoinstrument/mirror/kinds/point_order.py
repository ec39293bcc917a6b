"""Metrics without steps: MLflow puts every point that is logged without a step at step 0, ClearML keeps one of them.

A metric all of whose points are at step 0 is drawn over the order of its points, numbered from 0. As soon as it has
another step, it is a metric with steps, and of its points at step 0 the latest is drawn.

The order is that of time, then of value, and equal points count once: no other order is known to all of MLflow's
stores. A database keeps neither the order in which points were logged nor a second point with the same time and value.
"""

from __future__ import annotations

import itertools
import sys
from array import array
from collections.abc import Iterable, Iterator

from autoinstrument.mirror.mapping.scalars import why_not_drawable
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.records import Point

MAX_HELD = 200_000
"""Points of one run at step 0 that are held until it is known whether their metrics have steps, 16 bytes each."""
WINDOW = 20_000
"""Points that are sorted at a time; a folder has points as they were logged, almost in the order of time."""


class DisorderError(ValueError):
    """Points are further from their place in the order of time than a window: read again with a larger one."""


class NumberedHistory:
    """A metric's history as its curve must hold it: if it has no steps, its points are numbered.

    Attributes:
        key: name of the metric.
    """

    def __init__(self, history: History) -> None:
        self.key = history.key
        self._history = history
        self._window: int | None = None
        """How many points must be sorted at a time, 0 for a metric with steps, None before the first reading."""

    @property
    def is_numbered(self) -> bool:
        """True if the metric has no steps; known after the first reading."""
        return bool(self._window)

    def pages(self) -> Iterator[list[Point]]:
        """Yield the pages, which can be read again; a long history without steps is read twice at the first time.

        Raises:
            mlflow.exceptions.MlflowException: the store does not answer.
        """
        pages = self._history.pages()
        if self._window is None:
            first = next(pages, [])
            if _has_step(first):
                self._window, pages = 0, itertools.chain([first], pages)
            else:
                second = next(pages, None)
                if second is None:
                    self._window, pages = WINDOW, iter([first])
                else:
                    self._window = _window(itertools.chain([first, second], pages))
                    pages = self._history.pages()
        yield from pages if self._window == 0 else _numbered(self._history.key, pages, self._window)


def _has_step(page: Iterable[Point]) -> bool:
    return any(point[3] and not why_not_drawable(point) for point in page)


def _window(pages: Iterable[list[Point]]) -> int:
    """Return how many of a history's points must be sorted at a time, 0 if the metric has steps."""
    has_step = False

    def until_step() -> Iterator[list[Point]]:
        nonlocal has_step
        for page in pages:
            has_step = _has_step(page)
            if has_step:
                return
            yield page

    try:
        for _ in _in_order(until_step(), WINDOW, []):
            pass
    except DisorderError:
        return 0 if any(map(_has_step, pages)) else sys.maxsize
    return 0 if has_step else WINDOW


def _numbered(key: str, pages: Iterable[list[Point]], window: int) -> Iterator[list[Point]]:
    """Yield the pages of a metric without steps: points that no curve can hold as they are, the others numbered."""
    undrawable: list[Point] = []
    count = 0
    for part in _in_order(pages, window, undrawable):
        yield undrawable + [(key, value, time_ms, count + at) for at, (time_ms, value) in enumerate(part)]
        undrawable.clear()
        count += len(part)


def _in_order(pages: Iterable[list[Point]], window: int, undrawable: list[Point]) -> Iterator[list[tuple[int, float]]]:
    """Yield time and value of points in their order, each once.

    Args:
        pages: the points.
        window: how many of them wait for others that belong before them.
        undrawable: gets the points that no curve can hold.

    Raises:
        DisorderError: a point belongs before those that were yielded.
    """
    last: tuple[int, float] | None = None
    waiting: list[tuple[int, float]] = []

    def leaving(count: int) -> list[tuple[int, float]]:
        nonlocal last
        part = waiting[:count]
        del waiting[:count]
        if last is not None and part and part[0] < last:
            raise DisorderError
        unique = []
        for point in part:
            if point != last:
                unique.append(point)
            last = point
        return unique

    for page in pages:
        for point in page:
            if why_not_drawable(point):
                undrawable.append(point)
            else:
                waiting.append((point[2], point[1]))
        waiting.sort()
        yield leaving(max(0, len(waiting) - window))
    yield leaving(len(waiting))


class UnnumberedPoints:
    """The points of a run's metrics that have been at step 0 so far, as they are logged."""

    def __init__(self) -> None:
        self._times: dict[str, array[int]] = {}
        self._values: dict[str, array[float]] = {}
        self._count = 0
        self._with_steps: set[str] = set()
        self._unknown: set[str] = set()
        """Metrics of which earlier points are elsewhere, on the Task or in MLflow alone."""
        self._unplaced: dict[str, Point] = {}
        """The latest point at step 0 of metrics that only the store can number."""
        self._has_overflowed = False

    @property
    def are_unplaced(self) -> bool:
        """True if only MLflow's store can tell where points belong."""
        return self._has_overflowed or bool(self._unplaced)

    def has_steps(self, key: str) -> bool:
        """Return True if a metric has a step other than 0."""
        return key in self._with_steps

    def note_steps(self, key: str) -> tuple[list[Point], Point | None]:
        """Note that a metric has a step other than 0.

        Returns:
            Its points at step 0 but for the latest, which is drawn; and one that must be drawn now.
        """
        self._with_steps.add(key)
        held = self._held(key)
        self._drop(key)
        return held[:-1], self._unplaced.pop(key, None)

    def hold(self, point: Point) -> bool:
        """Hold a point at step 0 of a metric without steps; return False if it must not be drawn before the end."""
        key, value, time_ms, _ = point
        fits = self._count < MAX_HELD and -(2**63) <= time_ms < 2**63
        self._has_overflowed = self._has_overflowed or not fits
        if key in self._unknown or not fits:
            self.note_unknown(key)
            before = self._unplaced.get(key, point)
            self._unplaced[key] = point if (time_ms, value) >= (before[2], before[1]) else before
            return False
        self._times.setdefault(key, array("q")).append(time_ms)
        self._values.setdefault(key, array("d")).append(value)
        self._count += 1
        return True

    def note_unknown(self, key: str) -> None:
        """Note that earlier points of a metric are elsewhere."""
        if key not in self._with_steps:
            held = self._held(key)
            self._drop(key)
            self._unknown.add(key)
            if held:
                self._unplaced[key] = held[-1]

    def begin(self, key: str) -> None:
        """Forget a metric's points, before its whole history is taken."""
        self._drop(key)
        self._unplaced.pop(key, None)
        self._with_steps.discard(key)
        self._unknown.add(key)

    def forget(self) -> None:
        """Free memory."""
        for key in list(self._times):
            self._drop(key)
            self._unknown.add(key)

    def note_store_read(self) -> None:
        """Note that MLflow's store has placed all points."""
        self._unplaced.clear()
        self._has_overflowed = False

    def series(self) -> list[str]:
        """Return the metrics without steps that have several points; equal ones count once."""
        return [key for key in self._times if len(self._pairs(key)) > 1]

    def history(self, run_id: str, key: str) -> NumberedHistory:
        """Return the points of a metric without steps as if the store had been read."""
        points = self._held(key)
        return NumberedHistory(History(run_id, key, lambda: iter([points])))

    def _held(self, key: str) -> list[Point]:
        return [(key, value, time_ms, 0) for time_ms, value in sorted(self._pairs(key))]

    def _pairs(self, key: str) -> set[tuple[int, float]]:
        """Return time and value of a metric's points."""
        return set(zip(self._times.get(key, ()), self._values.get(key, ()), strict=True))

    def _drop(self, key: str) -> None:
        self._count -= len(self._times.pop(key, ()))
        self._values.pop(key, None)
