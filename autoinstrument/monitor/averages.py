"""Averages of readings since any moment, for any number of runs at the cost of one addition per reading."""

from __future__ import annotations

from collections.abc import Mapping

Moment = Mapping[str, tuple[float, int]]
"""A moment in the readings, see `Averages.now`."""


class Averages:
    """The sum and the number of all readings so far, by name.

    One thread adds readings, any thread may ask for averages: the sums are replaced, never changed.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, reading: Mapping[str, float]) -> None:
        """Add one value for each of some names."""
        sums = dict(self._sums)
        for name, value in reading.items():
            total, count = sums.get(name, (0.0, 0))
            sums[name] = total + value, count + 1
        self._sums = sums

    def now(self) -> Moment:
        """Return the present moment, for `since`."""
        return self._sums

    def since(self, moment: Moment) -> dict[str, float]:
        """Return the average of each name that was read since a moment."""
        averages = {}
        for name, (total, count) in self._sums.items():
            total_then, count_then = moment.get(name, (0.0, 0))
            if count > count_then:
                averages[name] = (total - total_then) / (count - count_then)
        return averages
