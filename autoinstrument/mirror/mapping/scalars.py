"""Map a metric point to ClearML: its curve, its event, its single value, and values that no curve can hold."""

from __future__ import annotations

import csv
import functools
import io
import math
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.records import Point

Curve = tuple[str, str]
"""Title and series of a curve."""

LEFT_OUT = "MLflow points left out"
SUMMARY = "Summary"
"""Title of single values, whose series is their name (clearml 1.16 to 2.1, `Logger.report_single_value`)."""
_SINGLE = -(2**31)
"""Iteration of single values, for the same reason."""
_SYSTEM = re.compile(
    r"system/(?:.+/)?(?:system_)?(?P<quantity>[a-z]+)_[a-z0-9_]*(?P<unit>percentage|megabytes|gigabytes|watts)"
)
"""MLflow's system metrics, as in `system/disk_usage_megabytes` and `system/NODE/gpu_0_power_usage_watts`."""
_DATA_SET = re.compile(
    r"(?P<series>(?:training|train|validation|valid|val|evaluation|eval|dev|test)(?:_?\d+)?)[-_. ](?P<name>[a-z].*)",
    re.IGNORECASE,
)
"""Names without a slash that begin with a data set: Keras's `val_loss`, Hugging Face's `eval_loss`, MLflow's
`training_score`, LightGBM's `valid_0-binary_logloss`, XGBoost's `validation_0-logloss`."""


def scalar(task_id: str, point: Point, titled_by: str) -> dict[str, Any] | None:
    """Return a metric point as an event, None if ClearML cannot hold its value or its step.

    The event store keeps float32 and refuses NaN and infinities (500/100); a false number is never sent instead.

    Args:
        task_id: id of the Task.
        point: the point.
        titled_by: see `curve`.
    """
    key, value, timestamp_ms, step = point
    return None if why_not_drawable(point) else event(task_id, curve(key, titled_by), value, timestamp_ms, step)


def latest_scalars(task_id: str, points: Iterable[Point], titled_by: str) -> list[dict[str, Any]]:
    """Return the events of points that were logged after all others of their metrics; arguments are those of `scalar`.

    Of several points at one step the latest is drawn. A metric without steps shows its latest point until its run ends.
    """
    drawn = {(point[0], point[3]): point for point in sorted(points, key=lambda each: (each[3], each[2], each[1]))}
    return [event for point in drawn.values() if (event := scalar(task_id, point, titled_by))]


def single_value(task_id: str, point: Point) -> dict[str, Any]:
    """Return the event that makes a point its metric's single value, as `Logger.report_single_value` sends it."""
    key, value, timestamp_ms, _ = point
    return event(task_id, row(key), value, timestamp_ms, _SINGLE)


def event(task_id: str, of: Curve, value: float, timestamp_ms: int, iteration: int) -> dict[str, Any]:
    """Return the event of one point of a curve; the id may be a model's, see `TaskModels.add_events`."""
    title, series = of
    return {
        "type": "training_stats_scalar",
        "task": task_id,
        "iter": iteration,
        "timestamp": timestamp_ms,
        "metric": title,
        "variant": series,
        "value": value,
    }


def row(key: str) -> Curve:
    """Return title and series of a metric's single value: a row of the table *Summary*, under the metric's name."""
    return SUMMARY, storable.name(key)


def can_have_row(key: str) -> bool:
    """Return True if a single value of the metric is a result; samples of MLflow's system metrics are not."""
    return not key.startswith("system/")


def same_number(one: float, other: float) -> bool:
    """Return True if ClearML, which keeps 32-bit floats, cannot tell two values apart; both can be held by a curve.

    Zero has two signs: databases of MLflow's forget it (SQLite, mlflow 3.17), and a live point has it.
    """
    return struct.pack("<f", one + 0.0) == struct.pack("<f", other + 0.0)


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


@functools.lru_cache(maxsize=10_000)
def curve(key: str, titled_by: str) -> Curve:
    """Return title and series of a metric.

    By prefix, `a/b/loss` is title `a/b` and series `loss`. By name, it is title `loss` and series `a/b`; a name
    without a slash that begins with a data set, as `val_loss`, is title `loss` and series `val`. Any other name is
    both.

    MLflow's system metrics (mlflow 2.16 to 3.17) are charted by quantity and unit, as in `system disk (megabytes)`,
    percentages together, as in `system (percentage)`: on one chart, bytes would flatten everything else. No metric's
    own name gives such a title, since MLflow takes no parentheses in names.

    Args:
        key: name of the metric.
        titled_by: `prefix` or `name`, the setting `scalars`.
    """
    key = storable.name(key)
    title, series = split(key)
    if system := _SYSTEM.fullmatch(key):
        quantity = "" if system["unit"] == "percentage" else f" {system['quantity']}"
        return f"{title}{quantity} ({system['unit']})", series
    if titled_by == "prefix":
        return title, series
    if "/" not in key and (found := _DATA_SET.fullmatch(key)):
        return found["name"], found["series"]
    return series, title


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
