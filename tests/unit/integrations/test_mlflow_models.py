"""Calls that change a run's models, data sets or traces have that kind of data read from the store."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, Metric
from mlflow.tracking._model_registry import client as registry_module
from mlflow.tracking._tracking_service import client as module

from autoinstrument.integrations import mlflow_models
from autoinstrument.records import InputsLogged, ModelMetricsLogged, ModelsLogged
from tests.unit.integrations.conftest import Recorder, copied


@pytest.fixture
def registry(uri: str, recorder: Recorder) -> Any:
    copy = copied(registry_module, "ModelRegistryClient")
    mlflow_models.instrument_registry(copy)
    return copy.ModelRegistryClient(uri, uri)


@pytest.fixture
def run_id(client: Any, recorder: Recorder) -> str:
    run_id = str(client.create_run("0").info.run_id)
    recorder.runs.append(run_id)
    return run_id


def test_a_data_set_is_read_from_the_store(client: Any, run_id: str, recorder: Recorder) -> None:
    dataset = MetaDataset(HTTPDatasetSource("https://example.com/data.csv"), name="wine")
    client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity())])
    assert recorder.reads.keys() == {(run_id, "inputs")}
    record = recorder.reads[run_id, "inputs"]()
    assert isinstance(record, InputsLogged)
    assert [each["name"] for each in record.datasets] == ["wine"]


def test_a_moved_alias_has_both_runs_read(
    client: Any, registry: Any, run_id: str, recorder: Recorder, uri: str
) -> None:
    other = str(client.create_run("0").info.run_id)
    recorder.runs.append(other)
    registry.create_registered_model("wine")
    first = registry.create_model_version("wine", "s3://bucket/1", run_id).version
    second = registry.create_model_version("wine", "s3://bucket/2", other).version
    assert recorder.reads.keys() == {(run_id, "models"), (other, "models")}
    registry.set_registered_model_alias("wine", "champion", first)
    recorder.reads.clear()
    registry.get_registered_model("wine")  # MLflow 3 asks for it before it moves an alias
    registry.set_registered_model_alias("wine", "champion", second)
    assert recorder.reads.keys() == {(run_id, "models"), (other, "models")}
    record = recorder.reads[other, "models"]()
    assert isinstance(record, ModelsLogged)


def test_a_change_of_one_version_has_no_run_read_that_it_cannot_concern(
    client: Any, registry: Any, recorder: Recorder
) -> None:
    """A sweep registers a version for each of its runs: reading all of them after each would take their square."""
    registry.create_registered_model("sweep")
    runs = [str(client.create_run("0").info.run_id) for _ in range(4)]
    recorder.runs += runs
    versions = [registry.create_model_version("sweep", f"s3://bucket/{run_id}", run_id).version for run_id in runs]
    registry.set_registered_model_alias("sweep", "champion", versions[0])
    reads = dict(recorder.reads)
    for read in reads.values():
        read()

    def read_after(*call: str) -> set[str]:
        recorder.reads.clear()
        getattr(registry, call[0])("sweep", *call[1:])
        return {run_id for run_id, _ in recorder.reads}

    assert read_after("set_registered_model_alias", "challenger", versions[2]) == {runs[0], runs[2]}
    assert read_after("delete_registered_model_alias", "champion") == {runs[0]}, "it had an alias when it was read"
    assert read_after("delete_model_version", versions[3]) == {runs[0], runs[3]}
    assert read_after("rename_registered_model", "swept") == set(runs)


@pytest.mark.skipif(not hasattr(module.TrackingServiceClient, "create_logged_model"), reason="since mlflow 3.0")
def test_a_name_in_another_registry_is_another_model(
    client: Any, registry: Any, run_id: str, recorder: Recorder, uri: str, tmp_path: Path
) -> None:
    """A script may promote a model from one server to another, under the same name."""
    shutil.copy(uri.removeprefix("sqlite:///"), tmp_path / "other.db")
    other_uri = f"sqlite:///{tmp_path / 'other.db'}"
    other, other_registry = type(client)(other_uri), type(registry)(other_uri, other_uri)
    other_run = str(other.create_run("0").info.run_id)
    recorder.runs.append(other_run)
    for each, of_run in ((registry, run_id), (other_registry, other_run)):
        each.create_registered_model("promoted")
        assert str(each.create_model_version("promoted", "s3://bucket/1", of_run).version) == "1"
    recorder.reads[run_id, "models"]()
    recorder.reads.clear()
    other_registry.set_registered_model_alias("promoted", "champion", "1")
    assert recorder.reads.keys() == {(other_run, "models")}


def test_points_of_a_model_belong_to_the_run_that_made_it(
    client: Any, run_id: str, recorder: Recorder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another run logs them, in another process, or a model is active that no call names."""
    made = client.create_logged_model("0", "step", run_id).model_id
    other = str(client.create_run("0").info.run_id)
    recorder.runs.append(other)
    recorder.records.clear()
    client.log_metric(other, "loss", 0.5, 1, 7, model_id=made, dataset_name="wine", dataset_digest="d1")
    mlflow_models._makers.clear()  # as in a process that has not made the model
    recorder.reads.clear()
    client.log_batch(other, [Metric("loss", 0.25, 2, 8, model_id=made), Metric("loss", 1.0, 3, 9)])
    assert (run_id, "models") in recorder.reads
    model = f"models:/{made}"
    assert recorder.of_type(ModelMetricsLogged) == [
        ModelMetricsLogged(run_id, [("loss", 0.5, 1, 7, "wine", "d1")], model),
        ModelMetricsLogged(run_id, [("loss", 0.25, 2, 8, "", "")], model),
    ]
    assert [model["points"] for model in recorder.reads[run_id, "models"]().models] == [[]]  # type: ignore[union-attr]
    recorder.records.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_active_model(model_id=made)
    client.log_batch(other, [Metric("loss", 1.0, 3, 9)])
    mlflow.clear_active_model()
    assert recorder.of_type(ModelMetricsLogged) == [ModelMetricsLogged(run_id, [("loss", 1.0, 3, 9, "", "")], model)]


@pytest.mark.skipif(not hasattr(module.TrackingServiceClient, "create_logged_model"), reason="since mlflow 3.0")
def test_a_model_that_another_process_deletes_has_its_run_read(client: Any, run_id: str, recorder: Recorder) -> None:
    made = client.create_logged_model("0", "step", run_id).model_id
    mlflow_models._makers.clear()
    mlflow_models._runs_of_entity.clear()
    changes = [lambda: client.log_model_params(made, {"lr": "1"}), lambda: client.delete_logged_model(made)]
    if "allow_deleted" not in inspect.signature(client.store.get_logged_model).parameters:  # before mlflow 3.8
        del changes[1]
    for change in changes:
        recorder.reads.clear()
        change()
        assert recorder.reads.keys() == {(run_id, "models")}
    assert len(recorder.reads[run_id, "models"]().models) == 2 - len(changes)  # type: ignore[union-attr]
