"""New points of many runs are read with one request, and none is lost that the answer has cut off."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
from werkzeug.serving import make_server

from autoinstrument.mlflow_store import short_histories
from autoinstrument.mlflow_store.new_points import ReadPosition
from autoinstrument.mlflow_store.short_histories import new_points_of_runs
from autoinstrument.records import Point
from tests.end_to_end.conftest import database as database

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(params=["database", "server"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MlflowClient]:
    """A client of a database, or of MLflow's own server on one."""
    shutil.copy(database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(short_histories, "_refused", {})
    if request.param == "database":
        yield MlflowClient(tracking_uri=uri)
        return
    from mlflow.server import app, handlers

    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", uri)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    monkeypatch.setattr(handlers, "_tracking_store", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # the server sets both, for its whole process
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", uri)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield MlflowClient(tracking_uri=f"http://127.0.0.1:{server.port}")
    server.shutdown()
    thread.join()
    server.server_close()


def a_run(client: MlflowClient, count: int) -> tuple[str, list[Point]]:
    """Log so many points of a metric, one without a number; return the run and its points."""
    run_id = client.create_run("0").info.run_id
    points = [("loss", math.nan if n == 1 else 1 / (n + 1), 1000 + n, n) for n in range(count)]
    client.log_batch(run_id, [Metric(*point) for point in points])
    client.log_metric(run_id, "los", 1.0)
    return run_id, points


def read(client: MlflowClient, positions: dict[str, ReadPosition]) -> dict[str, list[Point]]:
    return new_points_of_runs(client.tracking_uri, "", "loss", positions)


def test_each_run_gets_its_points(client: MlflowClient) -> None:
    logged = dict(a_run(client, count) for count in (3, 1, 20))
    found = read(client, dict.fromkeys(logged, ReadPosition()))
    assert repr(sorted(found.items())) == repr(sorted(logged.items()))
    positions = {run_id: ReadPosition().after(points) for run_id, points in found.items()}
    assert read(client, positions) == {run_id: [] for run_id in logged}
    one = next(iter(logged))
    for step in (30, 40):
        client.log_metric(one, "loss", 0.5, timestamp=2000 + step, step=step)
    assert read(client, positions)[one] == [("loss", 0.5, 2030, 30), ("loss", 0.5, 2040, 40)]


def test_a_run_whose_history_may_be_cut_off_is_missing(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = dict(a_run(client, 4) for _ in range(4))
    monkeypatch.setattr(short_histories, "_MOST", 10)
    found = read(client, dict.fromkeys(logged, ReadPosition()))
    assert sorted(found) == sorted(logged)[:2]
    monkeypatch.setattr(short_histories, "_MOST", 16)
    assert sorted(read(client, dict.fromkeys(logged, ReadPosition()))) == sorted(logged)[:3], "others may follow"
    monkeypatch.setattr(short_histories, "_MOST", 17)
    assert len(read(client, dict.fromkeys(logged, ReadPosition()))) == 4


def test_a_store_without_such_a_call_is_asked_now_and_then(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, points = a_run(client, 2)
    with monkeypatch.context() as without:
        without.setattr("autoinstrument.mlflow_store.history_internals._BULK", "/ajax-api/2.0/mlflow/metrics/none")
        without.setattr("autoinstrument.mlflow_store.history_internals._bulk_of_database", None)
        assert read(client, {run_id: ReadPosition()}) == {}
    assert read(client, {run_id: ReadPosition()}) == {}
    short_histories._refused.clear()
    assert repr(read(client, {run_id: ReadPosition()})) == repr({run_id: points})
