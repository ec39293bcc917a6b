"""Events in the shape in which tests and pages read them."""

from __future__ import annotations

from typing import Any

from .state import State

Points = list[tuple[Any, Any, int]]


def scalars(state: State, task_id: str) -> dict[str, dict[str, Points]]:
    curves: dict[str, dict[str, Points]] = {}
    for event in state.events.get(task_id, []):
        if event["type"] == "training_stats_scalar":
            points = curves.setdefault(event["metric"], {}).setdefault(event["variant"], [])
            points.append((event.get("iter"), event.get("value"), event["timestamp"]))
    for variants in curves.values():
        for points in variants.values():
            points.sort(key=lambda point: (point[0] is not None, point[0] or 0, point[2]))
    return curves


def console(state: State, task_id: str) -> str:
    logs = [event for event in state.events.get(task_id, []) if event["type"] == "log"]
    logs.sort(key=lambda event: event["timestamp"])
    return "".join(str(event.get("msg", "")).rstrip("\n") + "\n" for event in logs)
