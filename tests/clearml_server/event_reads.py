"""Endpoints that read scalars, logs, plots and raw events (06_events, 09b)."""

from __future__ import annotations

import struct
from datetime import datetime, timezone
from typing import Any

from .envelope import Doc, bad_request, invalid_id
from .metrics import EVENT_TYPES, SCALAR, SINGLE_VALUE
from .registry import Call, endpoint
from .schema import REQUIRED, REQUIRED_STR, Field
from .state import State, new_id, now_ms

_TASK = {"task": REQUIRED_STR}
_SAMPLES = Field("int", maximum=6000)
_KEY = Field(choices=("iter", "timestamp", "iso_time"), enum="scalarkeyenum")
_EVENT_TYPE = Field(choices=EVENT_TYPES, enum="eventtype")
_DEFAULT_SAMPLES = 6000


def events_of(state: State, task_id: str, kind: str, *, of_model: Any = False) -> list[Doc]:
    """The events of one type of a Task or model; 400/101 for an unknown Task, 400/201 for an unknown model (source)."""
    if of_model:
        if task_id not in state.models:
            raise invalid_id("model", ids=f"({task_id})")
    else:
        state.task_for_reading(task_id)
    return [event for event in state.events.get(task_id, []) if event["type"] == kind]


def variants(events: list[Doc], wanted: Any = None) -> dict[str, dict[str, list[Doc]]]:
    """Events by metric and variant, those asked for with `[{metric, variants}]`."""
    names = {item["metric"]: item.get("variants") for item in wanted or []}
    found: dict[str, dict[str, list[Doc]]] = {}
    for event in events:
        metric, variant = event["metric"], event["variant"]
        if not names or (metric in names and (not names[metric] or variant in names[metric])):
            found.setdefault(metric, {}).setdefault(variant, []).append(event)
    return found


def _float32(value: Any) -> Any:
    """Scalars are indexed as float32; the curve shows what is left, last_metrics the value as sent."""
    return None if value is None else struct.unpack("f", struct.pack("f", float(value)))[0]


def _curve(events: list[Doc], key: str, samples: int) -> tuple[list[Any], list[Any]]:
    """Points by x, several at one x averaged; more than `samples` are thinned out (how is only indicative)."""
    groups: dict[Any, list[Any]] = {}
    for event in events:
        if event.get("iter") is None or event["iter"] == SINGLE_VALUE:
            continue
        # The index counts iterations as doubles: 2**63 - 1 comes back as 2**63.
        groups.setdefault(int(float(event["iter" if key == "iter" else "timestamp"])), []).append(event.get("value"))
    xs = sorted(groups)
    if len(xs) > samples:
        step = -(-len(xs) // samples)
        parts = [xs[place : place + step] for place in range(0, len(xs), step)]
        groups = {part[0]: [value for x in part for value in groups[x]] for part in parts}
        xs = sorted(groups)
    return [_shown(x, key) for x in xs], [_average(groups[x]) for x in xs]


def _shown(x: int, key: str) -> Any:
    if key != "iso_time":
        return x
    moment = datetime.fromtimestamp(x / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _average(values: list[Any]) -> Any:
    numbers = [_float32(value) for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


@endpoint("events.scalar_metrics_iter_histogram", {**_TASK, "samples": _SAMPLES, "key": _KEY})
def scalar_metrics_iter_histogram(state: State, call: Call) -> Doc:
    """`{metric: {variant: {name, x, y}}}`; single values are hidden."""
    key, samples = call.data.get("key") or "iter", call.data.get("samples") or _DEFAULT_SAMPLES
    answer: Doc = {}
    of_model = call.data.get("model_events")
    found = variants(events_of(state, call.data["task"], SCALAR, of_model=of_model), call.data.get("metrics"))
    for metric, curves in found.items():
        for variant, events in curves.items():
            xs, ys = _curve(events, key, samples)
            if xs:
                answer.setdefault(metric, {})[variant] = {"name": variant, "x": xs, "y": ys}
    return answer


@endpoint("events.multi_task_scalar_metrics_iter_histogram", {"tasks": REQUIRED, "samples": _SAMPLES, "key": _KEY})
def multi_task_histogram(state: State, call: Call) -> Doc:
    metrics: Doc = {}
    for task_id in call.data["tasks"]:
        name = state.task_for_reading(task_id)["name"]
        for metric, curves in variants(events_of(state, task_id, SCALAR), call.data.get("metrics")).items():
            for variant, events in curves.items():
                xs, ys = _curve(events, call.data.get("key") or "iter", call.data.get("samples") or _DEFAULT_SAMPLES)
                curve = {"name": name, "x": xs, "y": ys}
                metrics.setdefault(metric, {}).setdefault(variant, {})[task_id] = curve
    return {"metrics": metrics}


@endpoint("events.scalar_metrics_iter_raw", {**_TASK, "metric": REQUIRED, "key": _KEY}, version="2.16")
def scalar_metrics_iter_raw(state: State, call: Call) -> Doc:
    """Single points, `batch_size` a call, going on with `scroll_id`."""
    key = call.data.get("key") or "iter"
    events = events_of(state, call.data["task"], SCALAR, of_model=call.data.get("model_events"))
    points: list[Doc] = []
    if not call.data.get("scroll_id") or call.data.get("count_total"):  # else it goes on with what was found before
        found = variants(events, [call.data["metric"]])
        points = [event for curves in found.values() for events in curves.values() for event in events]
        points.sort(key=lambda event: (event.get("iter") or 0, event["timestamp"]))
    page, scroll_id = scrolled(state, points, call.data, default=10000)
    answer: Doc = {}
    for event in page:
        curve = answer.setdefault(event["variant"], {"y": [], key: []})
        curve["y"].append(_float32(event.get("value")))
        curve[key].append(event["iter"] if key == "iter" else _shown(event["timestamp"], key))
    total = len(points) if call.data.get("count_total") else None
    return {"returned": len(page), "total": total, "scroll_id": scroll_id, "variants": answer}


def scrolled(
    state: State, events: list[Doc], query: Doc, default: int = 500, prefix: str = ""
) -> tuple[list[Doc], str]:
    """The next `batch_size` events, and the id to go on with; 400/1104 for an unknown one."""
    scroll_id, size = query.get("scroll_id"), query.get("batch_size") or default
    if scroll_id and scroll_id not in state.scrolls:
        raise bad_request(1104, "Invalid scroll id", scroll_id=scroll_id)
    left = state.scrolls[scroll_id] if scroll_id else events
    scroll_id = scroll_id or prefix + new_id()
    state.scrolls[scroll_id] = left[size:]
    return left[:size], scroll_id


@endpoint("events.get_task_events", {**_TASK, "event_type": _EVENT_TYPE})
def get_task_events(state: State, call: Call) -> Doc:
    """Raw events; for logs the real server fails for want of `iter` (500/0) - get_task_log is the call for them."""
    state.task_for_reading(call.data["task"])
    kind = call.data.get("event_type")
    if kind == "log" and events_of(state, call.data["task"], "log"):
        raise KeyError("iter")
    events = [event for event in state.events.get(call.data["task"], []) if kind in (None, event["type"])]
    # By iteration, upwards unless asked otherwise (09b #14).
    events.sort(key=lambda event: (event.get("iter") or 0, event["timestamp"]))
    if call.data.get("order") == "desc":
        events.reverse()
    page, scroll_id = scrolled(state, events, call.data)
    return {"returned": len(page), "total": len(events), "scroll_id": scroll_id, "events": page}


@endpoint("events.get_task_log", _TASK, version="2.9")
def get_task_log(state: State, call: Call) -> Doc:
    """From 2.9 on: pages by time, which take in all events of the last time on them."""
    logs = sorted(events_of(state, call.data["task"], "log"), key=lambda event: event["timestamp"])
    size, total = call.data.get("batch_size") or 500, len(logs)
    if call.version < (2, 9):
        logs = logs if call.data.get("from") == "head" else logs[::-1]
        page, scroll_id = scrolled(state, logs, call.data, prefix="scroll-")
        return {"events": page, "returned": len(page), "total": total, "scroll_id": scroll_id}
    earlier, since = call.data.get("navigate_earlier", True), call.data.get("from_timestamp")
    if earlier:
        logs = [event for event in logs if since is None or event["timestamp"] < since][::-1]
    else:
        logs = [event for event in logs if since is None or event["timestamp"] > since]
    page = [
        event for place, event in enumerate(logs) if place < size or event["timestamp"] == logs[size - 1]["timestamp"]
    ]
    order = call.data.get("order") or ("desc" if earlier else "asc")
    page.sort(key=lambda event: event["timestamp"], reverse=order == "desc")
    return {"events": page, "returned": len(page), "total": total}


@endpoint("events.get_task_metrics", {"tasks": REQUIRED, "event_type": Field(required=True)})
def get_task_metrics(state: State, call: Call) -> Doc:
    kind = call.data["event_type"]
    found = []
    for task_id in call.data["tasks"]:
        names = sorted(variants(events_of(state, task_id, kind))) if kind != "log" else []
        found.append({"task": task_id, "metrics": names})
    return {"metrics": found}


@endpoint("events.get_multi_task_metrics", {"tasks": REQUIRED})
def get_multi_task_metrics(state: State, call: Call) -> Doc:
    kind = call.data.get("event_type") or SCALAR
    events = [event for task_id in call.data["tasks"] for event in events_of(state, task_id, kind)]
    return {
        "metrics": [{"metric": name, "variants": sorted(found)} for name, found in sorted(variants(events).items())]
    }


@endpoint("events.get_task_single_value_metrics", {"tasks": REQUIRED})
def get_task_single_value_metrics(state: State, call: Call) -> Doc:
    found = []
    for task_id in call.data["tasks"]:
        values = [
            {key: event.get(key) for key in ("metric", "variant", "value", "timestamp")}
            for event in events_of(state, task_id, SCALAR)
            if event.get("iter") == SINGLE_VALUE
        ]
        if values:
            found.append({"task": task_id, "task_name": state.tasks[task_id]["name"], "values": values})
    return {"tasks": found}


@endpoint("events.get_task_latest_scalar_values", _TASK)
def get_task_latest_scalar_values(state: State, call: Call) -> Doc:
    """Answers `name: null, status: "created"` for named, running Tasks too."""
    found = variants(events_of(state, call.data["task"], SCALAR))
    last = 0
    metrics = []
    for metric, curves in sorted(found.items()):
        shown = []
        for variant, events in sorted(curves.items()):
            latest = max(events, key=lambda event: event.get("iter") or 0)
            last = max(last, latest.get("iter") or 0)
            value = _float32(latest.get("value"))
            shown.append({"name": variant, "last_value": value, "last_10_value": value})
        metrics.append({"name": metric, "variants": shown})
    return {
        "metrics": metrics,
        "last_iter": last,
        "name": None,
        "status": "created",
        "last_timestamp": float(now_ms()),
    }


@endpoint("events.get_scalar_metrics_and_variants", _TASK)
def get_scalar_metrics_and_variants(state: State, call: Call) -> Doc:
    found = variants(events_of(state, call.data["task"], SCALAR))
    return {"metrics": {metric: sorted(curves) for metric, curves in found.items()}}


@endpoint("events.get_scalar_metric_data", {**_TASK, "metric": REQUIRED_STR})
def get_scalar_metric_data(state: State, call: Call) -> Doc:
    events = [event for event in events_of(state, call.data["task"], SCALAR) if event["metric"] == call.data["metric"]]
    page, scroll_id = scrolled(state, events[::-1], call.data, prefix="scroll-")
    return {"events": page, "returned": len(page), "total": len(events), "scroll_id": scroll_id}
