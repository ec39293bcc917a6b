"""Plots and debug samples made from artifacts: pure functions of a file's path and content.

The live mirror and `sync` both use them, so that a figure looks the same in either way.
"""

from __future__ import annotations

import array
import base64
import binascii
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

from autoinstrument import previews
from autoinstrument.mirror.mapping.figures import image_plot, is_figure
from autoinstrument.mirror.mapping.scalars import split
from autoinstrument.mirror.mapping.tables import histogram, table
from autoinstrument.named_tuple import NamedTuple

MAX_PLOT = 5 * 2**20
"""Characters of a plot's JSON; a larger figure is only an artifact (a request has 15 MB at most)."""

# `log_image(key=..., step=...)` names its files itself: "%" and "#" in 2.16, "+" and "~" for a slash in 3.17.
_STEPPED = re.compile(
    r"images/(?P<key>.+)(?P<s>[+%])step(?P=s)(?P<step>-?\d+)(?P=s)timestamp(?P=s)(?P<time>\d+)(?P=s)[0-9a-f-]+"
    r"(?P<small>(?P=s)compressed)?\.(?:png|webp)"
)
_TABLE_THUMBNAIL = re.compile(r"table_images/.+/[0-9a-f-]{36}\.webp")
_SCORE = "/score"
"""End of the names of columns with a metric's score for each row (mlflow 2.16 to 3.17)."""
_BETWEEN = tuple(" \t\r\n,")
_TYPES = {"i1": "b", "u1": "B", "u1c": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
"""Number types of plotly.py 6 and later, as codes of the `array` module."""


class Place(NamedTuple):
    """Where a picture or plot is shown."""

    title: str
    series: str
    iteration: int
    time_ms: int
    """0 if the path has no time."""


def place(path: str) -> Place:
    """Return the place for an artifact: folder and name, or key and step of an image that was logged by step."""
    stepped = _STEPPED.fullmatch(path)
    if stepped and abs(int(stepped["step"])) < 2**63:
        return Place(*split(re.sub("[#~]", "/", stepped["key"])), int(stepped["step"]), int(stepped["time"]))
    return Place(*split(path), 0, 0)


def _sample_place(path: str) -> Place:
    """Return the place for a debug sample, whose title is never its own name.

    ClearML's page has a group for each title, and shows the samples of one group side by side.
    """
    where = place(path)
    is_alone = where.title == where.series
    return where._replace(title="pages" if is_page(path) else "images") if is_alone else where


def is_thumbnail(path: str) -> bool:
    """Return True for the compressed copy of an image that MLflow stores for its own pages.

    `log_image` by step and `log_table` write one beside each image (mlflow 2.16 to 3.17); a Task has the image alone.
    """
    stepped = _STEPPED.fullmatch(path)
    return bool((stepped and stepped["small"]) or _TABLE_THUMBNAIL.fullmatch(path))


def is_picture(path: str) -> bool:
    """Return True for a file that is an image."""
    return previews.suffix(path) in previews.PICTURES


def is_page(path: str) -> bool:
    """Return True for a page for a browser."""
    return previews.suffix(path) in previews.PAGES


def plots(task_id: str, path: str, content: bytes, time_ms: int) -> list[dict[str, Any]]:
    """Return the plots in a file as events: plotly figures in HTML or JSON, tables of `log_table`, scores."""
    if is_page(path):
        figures = _numbered(_of_page(content.decode("utf-8", "replace")))
    elif previews.suffix(path) == ".json":
        figures = _of_json(content, place(path).series)
    else:
        return []
    events = []
    where = place(path)
    for name, figure in figures.items():
        series = f"{where.series} {name}" if name else where.series
        try:
            text = json.dumps(_finite(_titled(figure, series)), separators=(",", ":"), allow_nan=False)
        except RecursionError:  # it is nested deeper than Python goes, and so is no figure
            continue
        if len(text) <= MAX_PLOT:
            events.append(event("plot", task_id, where._replace(series=series), time_ms, plot_str=text))
    return events


def picture(task_id: str, path: str, url: str, time_ms: int, head: bytes) -> dict[str, Any]:
    """Return the event that shows an uploaded picture or page: a plot for a figure of matplotlib, else a debug sample.

    A figure is a plot only if its address is of HTTP, as with the SDK: browsers open nothing else.

    Args:
        task_id: id of the Task.
        path: path of the file in MLflow.
        url: address of the uploaded file.
        time_ms: when it was logged, if its path has no time.
        head: the file's beginning, see `figures.HEAD`.
    """
    if url.startswith("http") and is_figure(path, head):
        where = place(path)
        text = json.dumps(image_plot(url, where.series, head), separators=(",", ":"))
        return event("plot", task_id, where, where.time_ms or time_ms, plot_str=text)
    where = _sample_place(path)
    key = url.partition("://")[2].partition("/")[2]
    return event("training_debug_image", task_id, where, where.time_ms or time_ms, url=url, key=key)


def event(kind: str, task_id: str, where: Place, time_ms: int, **more: str) -> dict[str, Any]:
    """Return an event that shows something: a plot (`plot_str`), or a debug sample (`url`, `key`)."""
    return {
        "type": kind,
        "task": task_id,
        "iter": where.iteration,
        "timestamp": time_ms,
        "metric": where.title,
        "variant": where.series,
        **more,
    }


def _titled(figure: dict[str, Any], series: str) -> dict[str, Any]:
    """Return a figure with a title: its own, else the series, which the SDK gives to every figure (clearml 2.1.12).

    ClearML's pages need one: without it *Maximize* shows an empty dialog (web pages 2.5).
    """
    title = figure["layout"].get("title")
    text = title.get("text") if isinstance(title, dict) else title
    has_title = isinstance(text, str) and text.strip() != ""
    return figure if has_title else {**figure, "layout": {**figure["layout"], "title": series}}


def _of_page(text: str) -> Iterator[dict[str, Any]]:
    """Yield the figures of a page that plotly's `write_html` made: the arguments of `Plotly.newPlot`."""
    decoder = json.JSONDecoder()
    for call in re.finditer(r"Plotly\.newPlot\(", text):
        try:
            values, at = [], call.end()
            for _ in range(3):
                while text[at : at + 1] in _BETWEEN:
                    at += 1
                value, at = decoder.raw_decode(text, at)
                values.append(value)
        except (ValueError, RecursionError):  # plotly's own code, if the page contains it
            continue
        if isinstance(values[1], list) and isinstance(values[2], dict):
            yield {"data": values[1], "layout": values[2]}


def _numbered(figures: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return figures by the number that is added to the name of the file, "" for the first."""
    return {str(number) if number > 1 else "": figure for number, figure in enumerate(figures, 1)}


def _of_json(content: bytes, name: str) -> dict[str, dict[str, Any]]:
    """Return the figures of a file by what is added to its name."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        return {}
    if set(value) == {"columns", "data"} and isinstance(value["columns"], list):
        return {"": table(value["columns"], value["data"], name), **_scores(value["columns"], value["data"])}
    if isinstance(value.get("layout"), dict):
        return {"": {"data": value["data"], "layout": value["layout"]}}
    return {}


def _scores(columns: list[Any], rows: list[Any]) -> dict[str, dict[str, Any]]:
    """Return a histogram of each metric's scores in a table of `mlflow.evaluate`, by the name of the column."""
    found = {}
    for at, column in enumerate(columns):
        if isinstance(column, str) and column.endswith(_SCORE):
            cells = [row[at] for row in rows if isinstance(row, list) and len(row) > at]
            values = [cell for cell in cells if isinstance(cell, (int, float, str)) and cell == cell]
            if figure := histogram(values, column):
                found[column] = figure
    return found


def _finite(value: Any) -> Any:
    """Return a figure with null for numbers that JSON lacks, and with lists for plotly.py's packed arrays.

    Since plotly.py 6 these are `{"dtype": "f8", "bdata": "<base64>"}`, which older web pages of ClearML cannot draw.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        if "bdata" in value and value.get("dtype") in _TYPES:
            return _unpacked(value)
        return {key: _finite(item) for key, item in value.items()}
    return value


def _unpacked(packed: dict[str, Any]) -> Any:
    try:
        numbers = array.array(_TYPES[packed["dtype"]], base64.b64decode(packed["bdata"]))
        shape = [int(length) for length in str(packed.get("shape") or len(numbers)).split(",")]
    except (ValueError, TypeError, binascii.Error):
        return packed
    if sys.byteorder == "big":
        numbers.byteswap()
    flat = _finite(numbers.tolist())
    for length in reversed(shape[1:]):
        flat = [flat[at : at + length] for at in range(0, len(flat), max(length, 1))]
    return flat
