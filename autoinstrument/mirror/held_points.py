"""The points of one curve as a Task holds them, and what differs: 13 bytes each, since a run may have a million."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable

_COUNTED = 100_000
"""Missing points that are told apart by their step, so that several at one step count once."""


class HeldPoints:
    """A curve's values by step, as the server keeps them: steps are counted as doubles, values have 32 bits."""

    def __init__(self, points: Iterable[tuple[int, float]]) -> None:
        self._steps, self._values = array("d"), array("f")
        for step, value in points:  # in the order of their steps, as the server gives them
            if self._steps and self._steps[-1] >= step:
                self._insert(step, value)
            else:
                self._steps.append(step)
                self._values.append(value)

    def __len__(self) -> int:
        return len(self._steps)

    def find(self, step: int) -> int:
        """Return where the point of a step stands, -1 where there is none."""
        at = bisect_left(self._steps, float(step))
        return at if at < len(self._steps) and self._steps[at] == float(step) else -1

    def is_same(self, at: int, value: float) -> bool:
        """Tell whether the point at a place has this value."""
        return struct.pack("<f", self._values[at]) == struct.pack("<f", value)

    def _insert(self, step: int, value: float) -> None:
        at = bisect_left(self._steps, float(step))
        if self._steps[at] == float(step):
            self._values[at] = value
        else:
            self._steps.insert(at, float(step))
            self._values.insert(at, value)


class Comparison:
    """A Task's curve against points that it is to hold, of which a later one takes the place of one of the same step.

    Attributes:
        first_missing: the lowest step that the curve lacks.
    """

    def __init__(self, held: HeldPoints) -> None:
        self.first_missing = 0
        self._held = held
        self._is_other = bytearray(len(held))
        self._missing: set[int] = set()
        self._more_missing = 0

    def take(self, step: int, value: float) -> None:
        """Compare the next point."""
        at = self._held.find(step)
        if at >= 0:
            self._is_other[at] = not self._held.is_same(at, value)
            return
        self.first_missing = min(step, self.first_missing) if self._missing else step
        if len(self._missing) < _COUNTED:
            self._missing.add(step)
        else:
            self._more_missing += step not in self._missing

    @property
    def missing(self) -> int:
        """How many points the curve lacks."""
        return len(self._missing) + self._more_missing

    @property
    def other(self) -> int:
        """How many points of the curve have another value."""
        return sum(self._is_other)

    def differs(self, step: int) -> bool:
        """Tell whether the curve has no point of a step, or one of another value."""
        at = self._held.find(step)
        return at < 0 or bool(self._is_other[at])
