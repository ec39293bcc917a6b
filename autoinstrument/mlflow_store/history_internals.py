"""The private parts of MLflow by which the histories of metrics are read, one function each.

All were seen in MLflow 2.16 to 3.17. MLflow is imported when a function is called, not with this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoinstrument.mlflow_store.internals import DATABASE_STORE, SERVER_STORE
from autoinstrument.records import Point

_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
"""The call by which MLflow's pages draw a chart of several runs."""
_BULK_S = 60.0


def history_module(store: Any) -> str:
    """Return the module whose `get_metric_history` a store has, its own or an inherited one; "" if none."""
    kinds = (kind for kind in type(store).__mro__ if "get_metric_history" in vars(kind))
    return next((kind.__module__ for kind in kinds), "")


def metric_rows(store: Any, run_id: str, key: str, start: tuple[int, int], skip: int, most: int) -> list[Any]:
    """Return points of a metric from a database, by step, time in ms and value, as rows with these and `is_nan`.

    Args:
        store: a store of `DATABASE_STORE`.
        run_id: the run.
        key: the metric.
        start: step and time of the first points.
        skip: number of points to leave out, from `start` on.
        most: number of points to return at most.
    """
    from mlflow.store.tracking.dbmodels.models import SqlMetric as Row
    from sqlalchemy import or_

    step, time_ms = start
    with store.ManagedSessionMaker() as session:
        found: list[Any] = (
            session.query(Row.step, Row.timestamp, Row.value, Row.is_nan)
            .filter(Row.run_uuid == run_id, _is_of_key(store, key))
            .filter(Row.step >= step, or_(Row.step > step, Row.timestamp >= time_ms))
            .order_by(Row.step, Row.timestamp, Row.value, Row.is_nan)
            .offset(skip)
            .limit(most)
            .all()
        )
    return found


def page_token(count: int) -> str:
    """Return the token of the page that begins behind `count` points: MLflow's server counts; other services refuse."""
    from mlflow.utils.search_utils import SearchUtils

    return str(SearchUtils.create_page_token(count), "ascii")


def latest_points(run: Any) -> list[Point]:
    """Return the latest point of each metric of a run; [] if this MLflow hides them."""
    return [(last.key, last.value, last.timestamp, last.step) for last in getattr(run.data, "_metric_objs", ())]


def metric_file(store: Any, run_id: str, key: str) -> Path:
    """Return the file of a folder store that has a line for each point of a metric."""
    return Path(store._get_metric_path(store._get_run_info(run_id).experiment_id, run_id, key))


def bulk_history(store: Any, run_ids: Sequence[str], key: str, most: int) -> list[tuple[str, Point]]:
    """Return the points of one metric of several runs, each with its run's id, run by run in the order of their ids.

    Args:
        store: a store of `DATABASE_STORE`, which is read with one query, or of `SERVER_STORE`, with one request.
        run_ids: the runs; a server takes 100.
        key: the metric.
        most: number of points after which the answer ends; a server takes 25,000.

    Raises:
        Exception: the store does not answer, or has no such call.
    """
    if history_module(store) == SERVER_STORE:
        return _bulk_of_server(store, run_ids, key, most)
    if history_module(store) == DATABASE_STORE:
        return _bulk_of_database(store, run_ids, key, most)
    raise NotImplementedError(type(store).__name__)


def _bulk_of_server(store: Any, run_ids: Sequence[str], key: str, most: int) -> list[tuple[str, Point]]:
    from mlflow.utils.rest_utils import http_request_safe

    parameters = [*(("run_id", run_id) for run_id in run_ids), ("metric_key", key), ("max_results", str(most))]
    # Not tried again: a service that has no such call may answer with an error that counts as passing.
    answer = http_request_safe(
        store.get_host_creds(), _BULK, "GET", params=parameters, max_retries=0, timeout=_BULK_S, raise_on_status=False
    )
    return [
        (str(each["run_id"]), (key, float(each["value"]), int(each["timestamp"]), int(each["step"])))
        for each in answer.json()["metrics"]
    ]


def _bulk_of_database(store: Any, run_ids: Sequence[str], key: str, most: int) -> list[tuple[str, Point]]:
    from mlflow.store.tracking.dbmodels.models import SqlMetric as Row

    with store.ManagedSessionMaker() as session:
        rows = (
            session.query(Row.run_uuid, Row.step, Row.timestamp, Row.value, Row.is_nan)
            .filter(Row.run_uuid.in_(run_ids), _is_of_key(store, key))
            .order_by(Row.run_uuid, Row.step, Row.timestamp, Row.value, Row.is_nan)
            .limit(most)
            .all()
        )
    return [(row.run_uuid, (key, math.nan if row.is_nan else row.value, row.timestamp, row.step)) for row in rows]


def _is_of_key(store: Any, key: str) -> Any:
    """Return the condition that a point is one of a metric."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric as Row
    from sqlalchemy import func

    is_of_key = Row.key == key
    # Else SQLite takes the key for rare, and searches all runs' points of that key.
    return func.likely(is_of_key) if store.db_type == "sqlite" else is_of_key
