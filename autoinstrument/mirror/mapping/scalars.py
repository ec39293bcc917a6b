"""What a metric point looks like in ClearML: its curve, its event, and what no curve can hold."""

from __future__ import annotations

import csv
import io
import math
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.records import Point

LEFT_OUT = "MLflow points left out"
_SYSTEM = re.compile(
    r"system/(?:.+/)?(?:system_)?(?P<quantity>[a-z]+)_[a-z0-9_]*(?P<unit>percentage|megabytes|gigabytes|watts)"
)
"""MLflow's system metrics, as in `system/disk_usage_megabytes` and `system/NODE/gpu_0_power_usage_watts`."""


def scalar(task_id: str, point: Point) -> dict[str, Any] | None:
    """Return a metric point as an event, None if ClearML cannot hold its value or its step.

    The event store keeps float32 and refuses NaN and infinities (500/100); a false number is never sent instead.
    """
    key, value, timestamp_ms, step = point
    if why_not_drawable(point):
        return None
    title, series = curve(key)
    return {
        "type": "training_stats_scalar",
        "task": task_id,
        "iter": step,
        "timestamp": timestamp_ms,
        "metric": title,
        "variant": series,
        "value": value,
    }


def why_not_drawable(point: Point) -> str:
    """Return why no curve can hold a point, "" if one can."""
    _, value, _, step = point
    if not -(2**63) <= step < 2**63:
        return "step over 64 bits"
    return "" if is_storable(value) else "no finite 32-bit float"


def is_storable(value: float) -> bool:
    """Return True if a curve can hold the value: it is finite, and within float32."""
    if not math.isfinite(value):
        return False
    try:
        struct.pack("<f", value)
    except OverflowError:
        return False
    return True


def curve(key: str) -> tuple[str, str]:
    """Return title and series of a metric: `a/b/loss` is title `a/b` and series `loss`; without a slash both are equal.

    MLflow's system metrics (mlflow 2.16 to 3.17) are charted by quantity and unit, as in `system disk (megabytes)`,
    percentages together, as in `system (percentage)`: on one chart, bytes would flatten everything else. No metric's
    own name gives such a title, since MLflow takes no parentheses in names.
    """
    key = storable.name(key)
    title, series = split(key)
    if system := _SYSTEM.fullmatch(key):
        quantity = "" if system["unit"] == "percentage" else f" {system['quantity']}"
        title = f"{title}{quantity} ({system['unit']})"
    return title, series


def split(name: str) -> tuple[str, str]:
    """Return title and series of a name: the parts before and after its last slash; without one, the name is both."""
    title, slash, series = name.rpartition("/")
    return (title, series) if slash and title and series else (name, name)


def points_left_out(points: Iterable[Sequence[str]], more: int) -> dict[str, str]:
    """Return the configuration object that lists points which the curves do not hold.

    Args:
        points: metric, step, time in ms, value and reason of each.
        more: how many others there are.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("metric", "step", "timestamp_ms", "value", "reason"))
    table.writerows(points)
    if more:
        text.write(f"# and {more} more\n")
    return {"name": LEFT_OUT, "value": text.getvalue(), "type": "csv", "description": "points that no curve holds"}
