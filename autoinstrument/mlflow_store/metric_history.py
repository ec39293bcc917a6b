"""Read a metric's history in pages; MLflow's own client gathers all of it.

The stores' own pages are too slow for long histories: they sort all points again for each page (a million points: fifty
times), before MLflow 3.2 there are none, and on SQLite without statistics each page searches the points of all runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from autoinstrument.guard import logger, own_calls
from autoinstrument.mlflow_store import history_internals, internals
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Point

_POINTS = 20_000
"""Points of a page: about 4 MB as tuples, ten times as much as MLflow's own objects."""
_LOWEST = -(2**63)


class History(NamedTuple):
    """All points of one metric, in pages that can be read again; never held whole.

    Attributes:
        pages: reads them. The points of a database come by step, time and value; those of a server by time, step and
            value; those of a folder as they were logged; those of a plug-in in its own order, each page by time.
    """

    run_id: str
    key: str
    pages: Callable[[], Iterator[list[Point]]]


def read_pages(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield the points of a metric of a run.

    The public call is used for stores of plug-ins, and if a private part of MLflow fails, as it may in a later version.

    Args:
        store: MLflow's store.
        run_id: id of the run.
        key: name of the metric.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    read = _READERS.get(history_internals.history_module(store))
    if read is not None:
        pages = read(store, run_id, key)
        try:
            first = next(pages, [])
        except Exception as error:  # the public call decides: it answers, or raises an error that counts
            logger().debug("%s is read by the public call: %s: %s", key, type(error).__name__, error)
        else:
            yield first
            yield from pages
            return
    yield from _of_any(store, run_id, key)


def _of_database(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield pages; an index finds each by the step at which the previous one ended."""
    last, seen = (_LOWEST, _LOWEST), 0
    while True:
        with own_calls():
            rows = history_internals.metric_rows(store, run_id, key, last, seen, _POINTS)
        yield [(key, math.nan if row.is_nan else row.value, row.timestamp, row.step) for row in rows]
        if len(rows) < _POINTS:
            return
        end = (rows[-1].step, rows[-1].timestamp)
        seen = sum((row.step, row.timestamp) == end for row in rows) + (seen if end == last else 0)
        last = end


def _of_folder(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield pages of a metric's file, which has a line for each point: time, value, step, and maybe a data set.

    With a data set, and without a step, MLflow reads the step as 0.
    """
    with own_calls():
        path = history_internals.metric_file(store, run_id, key)
    with path.open(encoding="utf-8") as file:
        while points := folder_points(key, itertools.islice(file, _POINTS)):
            yield points


def folder_points(key: str, lines: Iterable[str]) -> list[Point]:
    """Return the points of lines of a metric's file in a folder store, see `_of_folder`."""
    fields = (line.split() for line in lines)
    return [(key, float(at[1]), int(at[0]), int(at[2]) if len(at) == 3 else 0) for at in fields]


def _of_any(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield the store's own pages; before MLflow 3.2 `mlflow server` has none, and all points come at once."""
    token = None
    while True:
        with own_calls():
            page = store.get_metric_history(run_id, key, max_results=_POINTS, page_token=token)
        points = [(key, float(metric.value), int(metric.timestamp), int(metric.step)) for metric in page]
        yield sorted(points, key=lambda point: (point[2], point[3], point[1]))
        token = page.token
        if not token:
            return


_READERS: dict[str, Callable[[Any, str, str], Iterator[list[Point]]]] = {
    internals.DATABASE_STORE: _of_database,
    internals.FOLDER_STORE: _of_folder,
}
