"""Curves as small inline SVG."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from .envelope import Doc
from .metrics import SINGLE_VALUE
from .readout import Points, scalars
from .state import State

_WIDTH, _HEIGHT, _MARGIN = 280, 120, 8


def curves(state: State, task_id: str) -> list[Doc]:
    """One entry a curve, by title: its SVG and the numbers beside it."""
    found = []
    for metric, variants in sorted(scalars(state, task_id).items()):
        for variant, points in sorted(variants.items()):
            drawn = [point for point in points if _can_be_drawn(point)]
            if drawn:
                title = metric if metric == variant else f"{metric} / {variant}"
                ends = {"first_x": drawn[0][0], "last_x": drawn[-1][0]}
                found.append(
                    {"title": title, "svg": _svg(drawn), "count": len(drawn), "last": f"{drawn[-1][1]:g}", **ends}
                )
    return found


def singles(state: State, task_id: str) -> list[tuple[str, Any]]:
    """Values reported without an iteration: (name, value)."""
    return [
        (f"{metric} / {variant}", value)
        for metric, variants in sorted(scalars(state, task_id).items())
        for variant, points in sorted(variants.items())
        for iteration, value, _ in points
        if iteration == SINGLE_VALUE
    ]


def _can_be_drawn(point: tuple[Any, Any, int]) -> bool:
    iteration, value, _ = point
    return iteration not in (None, SINGLE_VALUE) and isinstance(value, (int, float)) and math.isfinite(value)


def _svg(points: Points) -> Markup:
    left, right = points[0][0], points[-1][0]
    bottom, top = min(point[1] for point in points), max(point[1] for point in points)
    step = max(1, len(points) // (2 * _WIDTH))  # no more points than a reader can distinguish
    shown = points[::step] + ([points[-1]] if (len(points) - 1) % step else [])
    places = [
        (
            _MARGIN + (x - left) / ((right - left) or 1) * (_WIDTH - 2 * _MARGIN),
            _HEIGHT - _MARGIN - (y - bottom) / ((top - bottom) or 1) * (_HEIGHT - 2 * _MARGIN),
        )
        for x, y, _ in shown
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="#0b57a4"/>' for x, y in places[:20])
    return Markup(
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<polyline points="{line}" fill="none" stroke="#0b57a4" stroke-width="1.5"/>'
        f"{dots if len(places) <= 20 else ''}</svg>"
    )
