"""Only the points behind the last one are read, whatever the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.store.entities.paged_list import PagedList
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import history_internals, internals, metric_history, new_points
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.mlflow_store.new_points import Reading, ReadPosition
from autoinstrument.mlflow_store.runs import find_run
from autoinstrument.records import Point
from tests.end_to_end.conftest import database as database

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(params=["database", "server", "server before MLflow 3.2", "folder", "plug-in"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> MlflowClient:
    """A client of a store of each kind; a database's own pages are those of `mlflow server`."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    if request.param == "folder":
        return MlflowClient(tracking_uri=f"file://{tmp_path / 'mlruns'}")
    shutil.copy(database, tmp_path / "mlflow.db")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    if request.param != "database":
        kind = internals.SERVER_STORE if "server" in request.param else "some.plug_in"
        monkeypatch.setattr(history_internals, "history_module", lambda store: kind)
    if "before" in request.param:
        store_class = type(client._tracking_client.store)
        original = store_class.get_metric_history

        def all_at_once(store: Any, run_id: str, key: str, max_results: int = 0, page_token: str = "") -> Any:
            return PagedList(original(store, run_id, key), None)

        monkeypatch.setattr(store_class, "get_metric_history", all_at_once)
    return client


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    created: str = client.create_run("0").info.run_id
    return created


@pytest.fixture
def read(client: MlflowClient, run_id: str) -> Callable[[], list[Point]]:
    """Returns the new points of a metric at each call."""
    position = ReadPosition()

    def read_more() -> list[Point]:
        nonlocal position
        found = new_points.new_points(find_run(run_id, client.tracking_uri).run, {"loss": position})["loss"]
        position = position.after(found)
        return found

    return read_more


def log(client: MlflowClient, run_id: str, *points: tuple[float, int, int]) -> list[Point]:
    client.log_batch(run_id, [Metric("loss", *point) for point in points])
    return [("loss", *point) for point in points]


def test_each_point_comes_once(client: MlflowClient, run_id: str, read: Callable[[], list[Point]]) -> None:
    first = log(client, run_id, *((1 / n, 1000 + n, n) for n in range(1, 30)))
    client.log_metric(run_id, "los", 1.0)
    assert read() == first
    assert read() == []
    more = log(client, run_id, (0.5, 1029, 29), (0.6, 2000, 29), (float("nan"), 2001, 30), (0.7, 2002, 31))
    assert repr(read()) == repr(more)
    assert read() == []
    assert read() == []
    last = log(client, run_id, (0.8, 2003, 32))
    assert read() == last


def test_a_metric_without_steps(client: MlflowClient, run_id: str, read: Callable[[], list[Point]]) -> None:
    for n in range(3):
        logged = log(client, run_id, (0.5, 1000 + 2 * n, 0), (0.25, 1001 + 2 * n, 0))
        assert read() == logged
    assert read() == []


def test_many_points_come_in_parts(
    client: MlflowClient, run_id: str, read: Callable[[], list[Point]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_points, "MOST", 10)
    all_points = log(client, run_id, *((1 / n, 1000 + n, n) for n in range(1, 50)))
    found: list[Point] = []
    while some := read():
        assert len(some) <= 10
        found += some
    assert found == all_points


def test_the_position_of_a_reading_is_noted(client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one counts, if a history is read twice."""
    monkeypatch.setattr(metric_history, "_POINTS", 4)
    log(client, run_id, *((1 / n, 1000 + n, n) for n in range(1, 12)))
    reading, store = Reading(), client._tracking_client.store
    history = reading.watched(History(run_id, "loss", lambda: metric_history.read_pages(store, run_id, "loss")))
    next(history.pages())
    for _ in range(2):
        assert sum(map(len, history.pages())) == 11
        assert reading.positions == {"loss": ReadPosition(11, ("loss", 1 / 11, 1011, 11))}
