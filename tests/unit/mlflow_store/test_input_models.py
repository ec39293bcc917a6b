"""A model that a run has read has the name that the run which made it gives it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mlflow.entities import LoggedModelInput
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import input_models
from autoinstrument.mlflow_store.input_models import SeenModel, read_input_models, seen_model
from autoinstrument.mlflow_store.models import read_models
from autoinstrument.mlflow_store.stores import StoreClient
from tests.end_to_end.conftest import database as database
from tests.unit.conftest import client as client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MLFLOW_2 = """artifact_path: my model
flavors:
  python_function:
    env:
      conda: conda.yaml
    loader_module: mlflow.sklearn
  sklearn:
    code: null
mlflow_version: 2.16.0
model_uuid: 21b70a3a4e5c4a3f9bd0a3ad8be4ec04
run_id: 'RUN'
signature:
  inputs: '[{"name": "run_id: x"}]'
"""
MLFLOW_3 = """artifact_path: mlflow-artifacts:/1/models/m-1f/artifacts
flavors:
  sklearn: {}
model_id: m-1f
model_uuid: m-1f
run_id: RUN
"""


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_models, "_known", {})


def test_the_file_of_a_model_describes_it() -> None:
    assert seen_model("https://me:secret@x/m", MLFLOW_2) == SeenModel(
        "https://x/m", "", "RUN", "my model", ("python_function", "sklearn")
    )
    new = seen_model("models:/iris@champion", MLFLOW_3)
    assert (new.model_id, new.flavors, new.uri) == ("m-1f", ("sklearn",), "models:/m-1f")
    for text in ("", "\0", "flavors:", "flavors:\n", "run_id: null\nmodel_id: null\n", "<html>", "run_id:\n"):
        assert seen_model("s3://bucket/model", text) == SeenModel("s3://bucket/model", "", "", "", ())


@pytest.mark.parametrize(
    ("address", "is_known"),
    [("s3://bucket/model", True), ("models:/iris/1", True), ("/tmp/model", False), ("file:///tmp/model", False)],
)
def test_a_folder_that_was_never_logged_is_not_known(address: str, is_known: bool) -> None:
    assert seen_model(address, "flavors:\n  sklearn: {}\n").is_known is is_known
    assert seen_model(address, MLFLOW_2).is_known


def a_run(client: MlflowClient) -> str:
    return str(client.create_run("0").info.run_id)


def read(client: MlflowClient, run_id: str, *seen: SeenModel) -> list[Any]:
    return list(read_input_models(StoreClient(client.tracking_uri), client.get_run(run_id), seen).models)


def made(client: MlflowClient, run_id: str) -> list[tuple[str, str, str, list[str]]]:
    """Return the models that a run has made, with the fields that their readers share."""
    models = read_models(StoreClient(client.tracking_uri), client.get_run(run_id)).models
    return [(model["uri"], model["name"], model["location"], model["flavors"]) for model in models]


def as_made(models: list[Any]) -> list[tuple[str, str, str, list[str]]]:
    return [(model["uri"], model["name"], model["location"], model["flavors"]) for model in models]


def test_a_model_of_mlflow_2_is_a_folder_of_its_run(client: MlflowClient) -> None:
    producer, reader = a_run(client), a_run(client)
    entry = {"artifact_path": "my model", "flavors": {"sklearn": {}, "python_function": {}}, "model_uuid": "1"}
    client.set_tag(producer, "mlflow.log-model.history", json.dumps([entry]))
    seen = seen_model("models:/iris/Production", MLFLOW_2.replace("RUN", producer))
    (found,) = read(client, reader, seen, seen._replace(address=f"runs:/{producer}/my model"))
    assert found["source_run"] == producer
    assert as_made([found]) == made(client, producer)
    assert read(client, producer, seen) == [], "its own"


def test_a_model_of_mlflow_3_is_the_same_whether_it_was_seen_or_noted(client: MlflowClient) -> None:
    producer, reader = a_run(client), a_run(client)
    model = client.create_logged_model("0", name="line", source_run_id=producer)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_inputs(reader, models=[LoggedModelInput(model.model_id), LoggedModelInput(model.model_id)])
    noted = read(client, reader)
    assert as_made(noted) == made(client, producer)
    seen = SeenModel("models:/iris/1", model.model_id, producer, "", ())
    assert read(client, a_run(client), seen) == noted
    assert read(client, producer, seen) == []
    client.log_inputs(producer, models=[LoggedModelInput(model.model_id)])
    assert read(client, producer) == [], "evaluated by the run that made it"


def test_a_model_that_the_store_does_not_have_is_named_as_it_was_seen(client: MlflowClient) -> None:
    run_id = a_run(client)
    found = read(
        client, run_id,
        SeenModel("s3://bucket/models/line", "m-gone", "e" * 32, "", ("sklearn",)),
        SeenModel("runs:/" + "d" * 32 + "/best", "", "d" * 32, "best", ()),
        SeenModel("models:/nothing/1", "", "", "", ()),
        SeenModel("s3://bucket/base", "", "", "", ()),
    )  # fmt: skip
    assert as_made(found) == [
        ("models:/m-gone", "line", "s3://bucket/models/line", ["sklearn"]),
        ("runs:/" + "d" * 32 + "/best", "best", "runs:/" + "d" * 32 + "/best", []),
        ("models:/nothing/1", "1", "models:/nothing/1", []),
        ("s3://bucket/base", "base", "s3://bucket/base", []),
    ]
    client.log_inputs(run_id, models=[LoggedModelInput("m-never")])
    assert as_made(read(client, run_id)) == [("models:/m-never", "m-never", "models:/m-never", [])]


@pytest.mark.parametrize("address", ["models:/iris/1", "models:/iris@champion"])
def test_a_version_of_a_model_that_was_only_saved_is_its_place(client: MlflowClient, address: str) -> None:
    producer = a_run(client)
    client.create_registered_model("iris")
    client.create_model_version("iris", "s3://bucket/saved", producer)
    client.set_registered_model_alias("iris", "champion", "1")
    found = read(client, a_run(client), SeenModel(address, "", "", "", ()))
    assert as_made(found) == made(client, producer)
    assert found[0]["source_run"] == producer
