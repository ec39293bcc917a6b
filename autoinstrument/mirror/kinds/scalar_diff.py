"""The differences between a Task's curve and the points that it must hold, neither of which is kept whole in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from autoinstrument.mirror.mapping.scalars import same_number

WINDOW = 100_000
"""Points of the curve that stay in memory at least, 13 bytes each, while the wanted points are read in pages."""
COUNTED = 100_000
"""Missing points, and points with other values, that are remembered by their step; further ones are only counted."""


class ForgottenError(LookupError):
    """A point has a step before those of the curve that are in memory: the comparison needs a larger window."""


class ScalarDiff:
    """A Task's curve compared with the points that it must hold; a later point replaces one of the same step.

    Attributes:
        first_missing: the lowest step that the curve lacks.
    """

    def __init__(self, points: Iterable[tuple[int, float]], window: int) -> None:
        """Read the curve as far as it is needed.

        Args:
            points: step and value in the order of the steps, which the server keeps as doubles; values have 32 bits.
            window: how many points before the last one that was needed stay in memory.
        """
        self.first_missing = 0
        self._points = iter(points)
        self._window = window
        self._steps, self._values, self._is_other = array("d"), array("f"), bytearray()
        self._has_forgotten = False
        self._forgotten_others: set[float] = set()
        self._more_others = 0
        self._missing: set[int] = set()
        self._more_missing = 0
        self._uncounted_from: float | None = None

    def take(self, step: int, value: float) -> None:
        """Compare the next point.

        Raises:
            ForgottenError: compare again with a larger window.
        """
        self._read_up_to(step)
        at = self._find(step)
        if at >= 0:
            self._is_other[at] = not same_number(self._values[at], value)
            return
        self.first_missing = min(step, self.first_missing) if self._missing else step
        if len(self._missing) < COUNTED:
            self._missing.add(step)
        elif step not in self._missing:
            self._more_missing += 1
            self._not_counted(step)

    @property
    def missing(self) -> int:
        """How many points the curve lacks."""
        return len(self._missing) + self._more_missing

    @property
    def other(self) -> int:
        """How many points of the curve have another value."""
        return len(self._forgotten_others) + self._more_others + sum(self._is_other)

    def differs(self, step: int) -> bool:
        """Return True, after the last point was taken, if the curve lacks a step, or has another value there.

        If more steps differ than are remembered, the answer is True for every step beyond those.
        """
        if step in self._missing or float(step) in self._forgotten_others:
            return True
        if self._uncounted_from is not None and step >= self._uncounted_from:
            return True
        at = self._find(step)
        return at >= 0 and bool(self._is_other[at])

    def _find(self, step: int) -> int:
        """Return the index of a step, -1 if it is not in memory."""
        at = bisect_left(self._steps, float(step))
        return at if at < len(self._steps) and self._steps[at] == float(step) else -1

    def _read_up_to(self, step: int) -> None:
        wanted = float(step)
        while not self._steps or self._steps[-1] < wanted:
            point = next(self._points, None)
            if point is None:
                break
            self._hold(float(point[0]), point[1])
        if self._has_forgotten and wanted < self._steps[0]:
            raise ForgottenError(step)

    def _hold(self, step: float, value: float) -> None:
        if self._steps and self._steps[-1] == step:  # steps beyond 2**53 may be the same as doubles
            self._values[-1] = value
            return
        if len(self._steps) >= 2 * self._window:
            self._forget(len(self._steps) - self._window)
        self._steps.append(step)
        self._values.append(value)
        self._is_other.append(False)

    def _forget(self, count: int) -> None:
        for at in range(count):
            if self._is_other[at]:
                step = self._steps[at]
                if len(self._forgotten_others) < COUNTED:
                    self._forgotten_others.add(step)
                else:
                    self._more_others += 1
                    self._not_counted(step)
        del self._steps[:count], self._values[:count], self._is_other[:count]
        self._has_forgotten = True

    def _not_counted(self, step: float) -> None:
        self._uncounted_from = step if self._uncounted_from is None else min(self._uncounted_from, step)
