"""The curves of a model's metrics: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.mirror.mapping.scalars import Curve, curve, event, why_not_drawable
from autoinstrument.records import ModelPoint

Drawn = Mapping[int, tuple[float, int]]
"""Value and time in ms of the point at each step of a curve."""


def curves(points: Iterable[ModelPoint], titled_by: str) -> dict[Curve, Drawn]:
    """Return the points that the curves of a model hold; of several at one step, the latest.

    MLflow does the same with a run's points: among equal times, the greater value counts.

    Args:
        points: those of one model, in any order; those that no curve can hold are left out.
        titled_by: see `scalars.curve`.
    """
    found: dict[Curve, dict[int, tuple[float, int]]] = {}
    for point in points:
        key, value, time_ms, step, *data_set = point
        if why_not_drawable((key, value, time_ms, step)):
            continue
        drawn = found.setdefault(_curve(key, *data_set, titled_by=titled_by), {})
        if step not in drawn or (time_ms, value) > drawn[step][::-1]:
            drawn[step] = value, time_ms
    return dict(found)


def events(model_id: str, curves: Mapping[Curve, Drawn]) -> Iterator[dict[str, Any]]:
    """Yield the points of curves as events, which name the model as their `task`."""
    for of, drawn in curves.items():
        for step, (value, time_ms) in drawn.items():
            yield event(model_id, of, value, time_ms, step)


def _curve(key: str, name: str, digest: str, *, titled_by: str) -> Curve:
    """Return title and series: those of a run's metric, and in the series the data set, as MLflow's pages name it."""
    title, series = curve(key, titled_by)
    return title, storable.name(f"{series} ({name} {digest})") if name else series
