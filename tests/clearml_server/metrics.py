"""Fields of a Task that its events set: last_metrics, last_iteration, metric_stats (06_events)."""

from __future__ import annotations

import hashlib
from typing import Any

from .envelope import Doc
from .state import State, store
from .tasks import stamp_duration

SCALAR = "training_stats_scalar"
EVENT_TYPES = ("log", SCALAR, "training_stats_vector", "training_debug_image", "plot")
SINGLE_VALUE = -(2**31)  # the iteration of report_single_value
_MONITORS = (":monitor:machine", ":monitor:gpu")  # they do not move last_iteration


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def update_task(state: State, task: Doc, events: list[Doc]) -> None:
    """Let a Task follow a stored batch of its events."""
    stats: Doc = {}
    for event in events:
        metric = event["metric"]
        seen = stats.setdefault(md5(metric), {"metric": metric, "event_stats_by_type": {}})["event_stats_by_type"]
        last = seen.setdefault(event["type"], {"last_update": event["timestamp"]})
        last["last_update"] = max(last["last_update"], event["timestamp"], key=_number)
    _follow(task, events)
    # Seen in 03c: the statistics are those of the batch written last, not of all.
    task["metric_stats"] = stats
    store(task, state.changed())
    stamp_duration(task)
    state.touch_project(task.get("project"))


def update_model(state: State, model: Doc, events: list[Doc]) -> None:
    """Let a model follow a stored batch of its events (source: clearml-server's `ModelBLL.update_statistics`)."""
    _follow(model, events)
    store(model, state.changed())


def _follow(doc: Doc, events: list[Doc]) -> None:
    scalars: dict[tuple[str, str], list[Doc]] = {}
    for event in events:
        if event["type"] == SCALAR and event.get("value") is not None:
            scalars.setdefault((event["metric"], event["variant"]), []).append(event)
    for (metric, variant), points in scalars.items():
        variants = doc["last_metrics"].setdefault(md5(metric), {})
        variants[md5(variant)] = _merged(variants.get(md5(variant)), metric, variant, points)
    moved = [event["iter"] for event in events if event.get("iter") is not None and event["metric"] not in _MONITORS]
    doc["last_iteration"] = max([doc["last_iteration"], *moved])


def _merged(old: Doc | None, metric: str, variant: str, points: list[Doc]) -> Doc:
    """`value` is that of the batch's highest iteration, whatever was there before; count and mean only grow."""
    latest = points[0]
    for point in points[1:]:
        if _iter(point) >= _iter(latest):
            latest = point
    lowest = min(points, key=lambda point: point["value"])
    highest = max(points, key=lambda point: point["value"])
    first = min(points, key=_iter)
    merged: Doc = {"metric": metric, "variant": variant, "value": latest["value"]}
    _extreme(merged, "min_value", lowest["value"], lowest, old, lambda new, kept: new < kept)
    _extreme(merged, "max_value", highest["value"], highest, old, lambda new, kept: new > kept)
    if old and _number(old.get("first_value_iteration")) <= _iter(first):
        merged |= {key: old[key] for key in ("first_value", "first_value_iteration") if key in old}
    else:
        _set(merged, "first_value", float(first["value"]), first)
    count, mean = (old["count"], old["mean_value"]) if old else (0, 0.0)
    merged["count"] = count + len(points)
    total = mean * count + sum(point["value"] for point in points)
    merged["mean_value"] = round(float(total / merged["count"]), 2)
    return merged


def _extreme(merged: Doc, key: str, value: Any, point: Doc, old: Doc | None, better: Any) -> None:
    if old and not better(value, old[key]):
        merged |= {name: old[name] for name in (key, f"{key}_iteration") if name in old}
    else:
        _set(merged, key, value, point)


def _set(merged: Doc, key: str, value: Any, point: Doc) -> None:
    merged[key] = value
    if point.get("iter") is not None:
        merged[f"{key}_iteration"] = point["iter"]


def _iter(event: Doc) -> int:
    return int(_number(event.get("iter")))


def _number(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else 0
