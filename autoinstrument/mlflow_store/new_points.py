"""Read the points that were logged to a metric since it was read last, at a cost that does not grow with its history.

MLflow has no call for that (2.16 to 3.17). A database is searched by step, a server is asked for the page that begins
with the first unknown point, a file of a folder is read from its first unknown line. A point whose step (in a database)
or time (on a server) is before that of points that were read is not found here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from autoinstrument.guard import logger, own_calls
from autoinstrument.mlflow_store import history_internals, internals
from autoinstrument.mlflow_store.metric_history import History, folder_points, read_pages
from autoinstrument.mlflow_store.stores import tracking_client
from autoinstrument.mlflow_store.workspaces import in_workspace
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Point, RunStarted

MOST = 20_000
"""Points of one metric that one call returns."""


class ReadPosition(NamedTuple):
    """The position up to which a metric's history was read.

    Attributes:
        number: of its points that were read.
        last: the last one in the order of the store, None if there was none.
    """

    number: int = 0
    last: Point | None = None

    def after(self, points: list[Point]) -> ReadPosition:
        """Return the position behind further points."""
        return ReadPosition(self.number + len(points), points[-1]) if points else self


class Reading:
    """Notes how far histories are read; each reading of a history from its beginning counts anew.

    Attributes:
        positions: by name of the metric.
    """

    def __init__(self) -> None:
        self.positions: dict[str, ReadPosition] = {}

    def watched(self, history: History) -> History:
        """Return a history that is noted as it is read."""
        return history._replace(pages=lambda: self._pages(history))

    def _pages(self, history: History) -> Iterator[list[Point]]:
        position = ReadPosition()
        for page in history.pages():
            position = position.after(page)
            yield page
            self.positions[history.key] = position


def new_points(run: RunStarted, positions: dict[str, ReadPosition]) -> dict[str, list[Point]]:
    """Return the points of some metrics after their positions, `MOST` of each at most, in the order of the store.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer, or has no such run.
    """
    with own_calls(), in_workspace(run.workspace):
        store = tracking_client(run.tracking_uri).store
        return {key: _new(store, run.run_id, key, position) for key, position in positions.items()}


def behind(points: Iterable[Point], position: ReadPosition) -> list[Point]:
    """Return the points behind the last one that was read; the first ones, if that is not among them."""
    source = iter(points)
    first: list[Point] = []
    for point in source if position.last is not None else ():
        if _same(point, position.last):
            return list(itertools.islice(source, MOST))
        if len(first) < MOST:
            first.append(point)
    return first or list(itertools.islice(source, MOST))


def in_order_of_server(points: Iterable[Point]) -> list[Point]:
    """Return points in the order in which a server counts them."""
    return sorted(points, key=lambda point: (point[2], point[3], point[1]))


def _new(store: Any, run_id: str, key: str, position: ReadPosition) -> list[Point]:
    if position.last is not None and (read := _READERS.get(history_internals.history_module(store))) is not None:
        try:
            return read(store, run_id, position.last, position)
        except Exception as error:  # the whole history decides: it can be read, or raises an error that counts
            logger().debug("%s is read from its beginning: %s: %s", key, type(error).__name__, error)
    return behind(itertools.chain.from_iterable(read_pages(store, run_id, key)), position)


def _of_database(store: Any, run_id: str, last: Point, position: ReadPosition) -> list[Point]:
    key, value, time_ms, step = last
    rows = history_internals.metric_rows(store, run_id, key, (step, time_ms), 0, MOST)
    points = [(key, math.nan if row.is_nan else row.value, row.timestamp, row.step) for row in rows]
    return [point for point in points if (point[3], point[2]) > (step, time_ms) or point[1] > value]


def _of_server(store: Any, run_id: str, last: Point, position: ReadPosition) -> list[Point]:
    """Ask for the page behind the points that were read; a server before MLflow 3.2 answers with all points."""
    key = last[0]
    token = history_internals.page_token(position.number)
    page = store.get_metric_history(run_id, key, max_results=MOST, page_token=token)
    points = [(key, float(metric.value), int(metric.timestamp), int(metric.step)) for metric in page]
    return behind(in_order_of_server(points), position)


def _of_folder(store: Any, run_id: str, last: Point, position: ReadPosition) -> list[Point]:
    with history_internals.metric_file(store, run_id, last[0]).open(encoding="utf-8") as file:
        return folder_points(last[0], itertools.islice(file, position.number, position.number + MOST))


def _same(point: Point, other: Point | None) -> bool:
    return other is not None and point[2:] == other[2:] and repr(point) == repr(other)  # NaN does not equal itself


_READERS: dict[str, Callable[[Any, str, Point, ReadPosition], list[Point]]] = {
    internals.DATABASE_STORE: _of_database,
    internals.SERVER_STORE: _of_server,
    internals.FOLDER_STORE: _of_folder,
}
