"""Read a metric's history in pages; MLflow's own client gathers all of it.

What is used of the stores is private in MLflow (2.16 to 3.17). Their own pages do not do for long histories: a page is
counted from the first point on and sorted anew (a million points: fifty times), before MLflow 3.2 there are none, and
on SQLite without statistics the points of all runs are looked through for each page of one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from autoinstrument.guard import logger, ourselves
from autoinstrument.records import Point

_POINTS = 20_000
"""Points that are read at a time: as tuples some 4 MB, as MLflow's own objects ten times as much."""
_LOWEST = -(2**63)


class History(NamedTuple):
    """All points of one metric, in pages that can be read again; never held whole.

    Attributes:
        pages: reads them. Of a database they come by step, time and value; of a server by time, step and value; of a
            folder as they were logged; of a plug-in's store in its own order, each page by time.
    """

    run_id: str
    key: str
    pages: Callable[[], Iterator[list[Point]]]


def read_pages(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield the points of a metric of a run, `store` being MLflow's.

    What is private may fail in an MLflow to come; then, and for a store that is none of MLflow's own or has a reader of
    its own, the store is asked as it is made for.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    read = _READERS.get(_maker(store))
    if read is not None:
        pages = read(store, run_id, key)
        try:
            first = next(pages, [])
        except Exception as error:  # whatever it is, the store's own answer, or error, is what counts
            logger().debug("%s is not read in pages of our own: %s: %s", key, type(error).__name__, error)
        else:
            yield first
            yield from pages
            return
    yield from _of_any(store, run_id, key)


def _maker(store: Any) -> str:
    """Return the module whose way of reading histories a store has, its own or inherited; "" if none."""
    kinds = (kind for kind in type(store).__mro__ if "get_metric_history" in vars(kind))
    return next((kind.__module__ for kind in kinds), "")


def _of_database(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield pages, each of which an index finds by the step at which the one before has ended."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric as Row
    from sqlalchemy import func, or_

    is_of_key = Row.key == key
    if store.db_type == "sqlite":  # else it takes the key for rare, and goes through all runs' points of that key
        is_of_key = func.likely(is_of_key)
    last, seen = (_LOWEST, _LOWEST), 0
    while True:
        step, time_ms = last
        with ourselves(), store.ManagedSessionMaker() as session:
            rows = (
                session.query(Row.step, Row.timestamp, Row.value, Row.is_nan)
                .filter(Row.run_uuid == run_id, is_of_key)
                .filter(Row.step >= step, or_(Row.step > step, Row.timestamp >= time_ms))
                .order_by(Row.step, Row.timestamp, Row.value, Row.is_nan)
                .offset(seen)
                .limit(_POINTS)
                .all()
            )
        yield [(key, math.nan if row.is_nan else row.value, row.timestamp, row.step) for row in rows]
        if len(rows) < _POINTS:
            return
        end = (rows[-1].step, rows[-1].timestamp)
        seen = sum((row.step, row.timestamp) == end for row in rows) + (seen if end == last else 0)
        last = end


def _of_folder(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield pages of the file in which a metric has a line for each point: time, value, step, and maybe a data set.

    With a data set, and without a step, MLflow itself says that the step is 0.
    """
    with ourselves():
        path = Path(store._get_metric_path(store._get_run_info(run_id).experiment_id, run_id, key))
    with path.open(encoding="utf-8") as file:
        while lines := list(itertools.islice(file, _POINTS)):
            fields = (line.split() for line in lines)
            yield [(key, float(at[1]), int(at[0]), int(at[2]) if len(at) == 3 else 0) for at in fields]


def _of_any(store: Any, run_id: str, key: str) -> Iterator[list[Point]]:
    """Yield pages as the store makes them; before MLflow 3.2 `mlflow server` makes none: all points come at once."""
    token = None
    while True:
        with ourselves():
            page = store.get_metric_history(run_id, key, max_results=_POINTS, page_token=token)
        points = [(key, float(metric.value), int(metric.timestamp), int(metric.step)) for metric in page]
        yield sorted(points, key=lambda point: (point[2], point[3], point[1]))
        token = page.token
        if not token:
            return


_READERS: dict[str, Callable[[Any, str, str], Iterator[list[Point]]]] = {
    "mlflow.store.tracking.sqlalchemy_store": _of_database,
    "mlflow.store.tracking.file_store": _of_folder,
}
