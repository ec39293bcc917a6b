"""A folder store is read in constant memory, and has the values that MLflow's own client finds in it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import metric_history
from autoinstrument.mlflow_store.folder_store import reading_lines
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.runs import find_runs
from autoinstrument.mlflow_store.stores import tracking_client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MANY = 20_000


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    client.search_experiments()
    return client


def metric_file(client: MlflowClient, run: Any, key: str) -> Path:
    return Path(client._tracking_client.store.root_directory, run.info.experiment_id, run.info.run_id, "metrics", key)


def test_a_long_history_is_not_held_in_memory(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searching, opening and reading it hold a page or two; MLflow's own call holds an object for each point."""
    monkeypatch.setattr(metric_history, "_POINTS", MANY // 50)
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "loss", 0.0)
    file = metric_file(client, run, "loss")
    file.write_text("".join(f"{1_700_000_000_000 + number} {number / 7} {number}\n" for number in range(MANY)))
    tracemalloc.start()
    try:
        client.get_run(run.info.run_id)
        _, by_mlflow = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        (found,) = find_runs(client.tracking_uri)
        reader = open_run(client.tracking_uri, run.info.run_id)
        _, last = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        count = sum(len(page) for history in reader.histories() for page in history.pages())
        _, pages = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.metrics == reader.stored.metrics == {"loss": (MANY - 1) / 7}
    assert count == MANY
    assert max(last, pages) < by_mlflow / 10


@pytest.mark.parametrize(
    "points",
    [
        [(1.0, 5, 0), (2.0, 4, 0), (3.0, 5, 0)],
        [(1.0, 9, 7), (2.0, 10, 3), (float("nan"), 9, 7)],
        [(float("inf"), 1, -1), (-1e300, 1, -1)],
    ],
)
def test_the_latest_value_is_mlflows(client: MlflowClient, points: list[tuple[float, int, int]]) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_batch(run_id, [Metric("a/loss", *point) for point in points])
    client.log_batch(run_id, [Metric("other", 1.0, 1, 1, dataset_name="mnist", dataset_digest="1")])
    wanted = client.get_run(run_id)
    found = tracking_client(client.tracking_uri).get_run(run_id)
    assert repr(found.data.metrics) == repr(wanted.data.metrics)
    for key in ("a/loss", "other"):
        (expected,), (actual,) = ([m for m in run.data._metric_objs if m.key == key] for run in (wanted, found))
        assert repr((actual.value, actual.timestamp, actual.step)) == repr(
            (expected.value, expected.timestamp, expected.step)
        )


@pytest.mark.parametrize("text", ["", "not a point\n", "1 0.5 2 3 4 5 6 x\n1 2\n"])
def test_mlflow_decides_about_other_files(client: MlflowClient, text: str) -> None:
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "loss", 0.0)
    metric_file(client, run, "loss").write_text(text)
    errors = []
    for each in (client, tracking_client(client.tracking_uri)):
        with pytest.raises((ValueError, MlflowException)) as raised:
            each.get_run(run.info.run_id)
        errors.append(str(raised.value))
    assert errors[0] == errors[1]


def test_the_trainings_store_and_other_classes_stay_as_they_are(client: MlflowClient) -> None:
    store = client._tracking_client.store
    before = dict(vars(store))
    assert reading_lines(store) is not store
    assert vars(store) == before
    of_plug_in = type("Plugin", (type(store),), {"__module__": "plug_in"})(store.root_directory)
    assert reading_lines(of_plug_in) is of_plug_in
