"""Histories are read in pages, and are what MLflow's own client gathers."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from sqlalchemy import event

from autoinstrument.mlflow_store import metric_history
from autoinstrument.records import Point
from tests.end_to_end.conftest import database as database

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
Read = Callable[[Any, str, str], Iterator[list[Point]]]
POINTS = [
    *[(float(n), 1_000 + n, n) for n in range(20)],
    *[(n / 7, 3_000 + n, 12 - n) for n in range(10)],  # steps that come again, and go down
    *[(float(-n), 2_000, 5) for n in range(12)],  # more than a page of one step and time
    (math.nan, 2_000, 5), (math.inf, 9, -3), (1e-300, 2**40, 2**62),
]  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, database: Path) -> MlflowClient:
    shutil.copy(database, tmp_path / "mlflow.db")
    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def a_run(client: MlflowClient) -> str:
    """Log a run with two metrics, of which the first is the longer one."""
    run_id: str = client.create_run("0").info.run_id
    client.log_batch(run_id, [Metric("loss", *point) for point in POINTS])
    client.log_batch(run_id, [Metric("los", *point) for point in POINTS[:3]])
    return run_id


def read(client: MlflowClient, run_id: str) -> list[list[Point]]:
    return list(metric_history.read_pages(client._tracking_client.store, run_id, "loss"))


def check(client: MlflowClient, pages: list[list[Point]], run_id: str) -> None:
    assert max(map(len, pages)) <= 4
    found = [str(point) for page in pages for point in page]
    wanted = [
        str((metric.key, metric.value, metric.timestamp, metric.step))
        for metric in client.get_metric_history(run_id, "loss")
    ]
    assert len(wanted) == len(POINTS)
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("size", [4, 1])
def test_a_database_gives_each_point_once_by_step(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(metric_history, "_POINTS", size)
    a_run(client)
    run_id = a_run(client)
    pages = read(client, run_id)
    check(client, pages, run_id)
    order = [(step, time_ms) for page in pages for _, _, time_ms, step in page]
    assert order == sorted(order)


def test_a_store_that_makes_pages_itself_gives_each_point_once(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mlflow server` does; a database's own call for it is the same."""
    monkeypatch.setattr(metric_history, "_POINTS", 4)
    run_id = a_run(client)
    pages = list(metric_history._of_any(client._tracking_client.store, run_id, "loss"))
    check(client, pages, run_id)


def test_a_folder_gives_each_point_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(metric_history, "_POINTS", 4)
    client = MlflowClient(tracking_uri=f"file://{tmp_path / 'mlruns'}")
    run_id = a_run(client)
    client.log_batch(run_id, [Metric("loss", 1.0, 1, 1, dataset_name="mnist", dataset_digest="1")])
    monkeypatch.setitem(globals(), "POINTS", [*POINTS, (1.0, 1, 0)])
    with monkeypatch.context() as patch:  # it would read the whole file for each page
        patch.delattr(FileStore, "_get_metric_from_line")
        pages = read(client, run_id)
    check(client, pages, run_id)


def test_a_store_with_a_reader_of_its_own_is_asked(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in may build on MLflow's stores, and keep its points elsewhere."""

    class Plugin(SqlAlchemyStore):  # type: ignore[misc]
        def get_metric_history(self, *_: Any, **__: Any) -> PagedList[Metric]:
            return PagedList([Metric("loss", 2.0, 4, 3), Metric("loss", 1.0, 2, 1)], None)

    run_id = a_run(client)
    monkeypatch.setattr(client._tracking_client.store, "__class__", Plugin)
    assert read(client, run_id) == [[("loss", 1.0, 2, 1), ("loss", 2.0, 4, 3)]]


def test_other_stores_are_read_by_the_public_call(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an MLflow to come, whose private parts have other names."""
    monkeypatch.setattr(metric_history, "_POINTS", 4)
    run_id = a_run(client)
    monkeypatch.delattr(client._tracking_client.store, "db_type")
    check(client, read(client, run_id), run_id)


@pytest.mark.parametrize("is_old", [False, True])
def test_sqlite_looks_at_no_other_runs_points(client: MlflowClient, tmp_path: Path, is_old: bool) -> None:
    """Left to itself it goes by the key, which all runs have: of 10,000 runs each takes 10,000 times as long."""
    run_id = a_run(client)
    engine = client._tracking_client.store.engine
    sent: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _, __, text, values, *___: sent.append((text, values)))
    read(client, run_id)
    ((text, values),) = [each for each in sent if "FROM metrics" in each[0]]
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        if is_old:  # before MLflow 3.12
            connection.execute("DROP INDEX IF EXISTS index_metrics_run_uuid_key_step")
        plan = [row[-1] for row in connection.execute("EXPLAIN QUERY PLAN " + text, values)]
    assert "(run_uuid=?" in plan[0], plan
