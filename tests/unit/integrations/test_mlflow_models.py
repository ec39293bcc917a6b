"""Calls that change a run's models, data sets or traces have that kind of data read from the store."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput
from mlflow.tracking._model_registry import client as registry_module
from mlflow.tracking._tracking_service import client as module

from autoinstrument.integrations import mlflow_models
from autoinstrument.integrations.mlflow_tracking import instrument_client
from autoinstrument.records import InputsLogged, ModelsLogged
from tests.unit.integrations.conftest import Recorder, copied


@pytest.fixture
def client(uri: str, recorder: Recorder) -> Any:
    copy = copied(module, "TrackingServiceClient")
    instrument_client(copy)
    return copy.TrackingServiceClient(uri)


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


def test_an_alias_that_moves_has_both_runs_read(
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
