"""Tables and histograms as figures of plotly, which ClearML's pages draw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

MOST_ROWS = 1000
"""Rows of a table that are shown."""
_FONT = {"family": "Heebo, verdana, arial, sans-serif"}
_BINS, _LARGEST = 20, 1e300
_MOST_BARS, _LONGEST_BAR = 30, 100
"""Different texts of which a histogram is drawn, and characters of one; others are not categories."""


def table(columns: Sequence[Any], rows: Sequence[Any], name: str, *, of: int = 0) -> dict[str, Any]:
    """Return a table as a figure that looks as the ClearML SDK's own tables do (clearml 2.1).

    Args:
        columns: their names.
        rows: lists of cells; all but the first thousand are left out.
        name: title of the table.
        of: how many rows there are, if `rows` lacks some.
    """
    shown = [row if isinstance(row, list) else [row] for row in rows[:MOST_ROWS]]
    cells = [[_cell(row[number]) if number < len(row) else "" for row in shown] for number in range(len(columns))]
    of = max(of, len(rows))
    left_out = f" (first {len(shown)} of {of} rows)" if of > len(shown) else ""
    return {
        "data": [
            {
                "type": "table",
                "header": {
                    "values": [_cell(column) for column in columns],
                    "align": "left",
                    "line": {"width": 0.5, "color": "#d4d6e0"},
                    "fill": {"color": "#fff"},
                    "font": {**_FONT, "size": 12, "color": "#333"},
                },
                "cells": {
                    "height": 30,
                    "values": cells,
                    "align": "left",
                    "line": {"color": "white", "width": 1},
                    "font": {**_FONT, "size": 14, "color": "#384161"},
                },
            }
        ],
        "layout": {"title": name + left_out},
    }


def histogram(values: Sequence[Any], name: str) -> dict[str, Any] | None:
    """Return a figure with the number of values in each of twenty ranges, or of each word; None if it says nothing.

    Args:
        values: numbers, or words such as yes and no, or truth values.
        name: title of the figure.
    """
    numbers = [float(value) for value in values if _is_number(value)]
    if values and len(numbers) == len(values):
        bars = _ranges(numbers)
    else:
        words = Counter(value if isinstance(value, str) else json.dumps(value) for value in values)
        bars = sorted(words.items())
        if not bars or len(bars) > _MOST_BARS or any(len(word) > _LONGEST_BAR for word, _ in bars):
            return None
    data = {"type": "bar", "x": [label for label, _ in bars], "y": [count for _, count in bars], "name": name}
    axis = {"title": {"text": "value"}, "type": "category"}
    return {"data": [data], "layout": {"title": name, "xaxis": axis, "yaxis": {"title": {"text": "rows"}}}}


def _is_number(value: Any) -> bool:
    """Return True for a number that ranges can be made of; differences of larger ones may not be floats."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _ranges(numbers: Sequence[float]) -> list[tuple[str, int]]:
    """Return ranges and the number of values in each; of few different values, the values themselves."""
    counts = Counter(numbers)
    if len(counts) <= _BINS:
        return [(f"{number:g}", count) for number, count in sorted(counts.items())]
    low, high = min(numbers), max(numbers)
    width = (high - low) / _BINS
    found = Counter(min(int((number - low) / width), _BINS - 1) for number in numbers)
    return [(f"{low + at * width:.4g} to {low + (at + 1) * width:.4g}", found[at]) for at in range(_BINS)]


def _cell(value: Any) -> Any:
    """Return a cell as plotly shows it; for an image of `log_table` its path."""
    if isinstance(value, dict) and isinstance(value.get("filepath"), str):
        return value["filepath"]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
