"""Data sets of a run that come from ClearML are linked to ClearML's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.tracking import MlflowClient

from autoinstrument.clearml_api.session import Session
from autoinstrument.cli import main
from autoinstrument.mirror.kinds.datasets import as_configuration
from autoinstrument.mirror.mapping.dataset_links import dataset_ids
from autoinstrument.records import Dataset as Logged
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import section, task_of
from tests.unit.conftest import sdk_task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
ID, OTHER = "0123456789abcdef" * 2, "f" * 32


def logged(source: str, **tags: str) -> Logged:
    return Logged(name="wine", digest="1", source_type="", source=source, schema="", profile="", tags=tags)


@pytest.mark.parametrize("depth", range(200, 1100, 50))
def test_a_profile_that_is_nested_too_deeply_stays_a_text(depth: int) -> None:
    """It must not keep the rest of the run back."""
    nested = "[" * depth + "]" * depth
    found = as_configuration([{**logged(""), "profile": nested}])
    assert found["value"].count("[") > depth


@pytest.mark.parametrize(
    "source",
    [
        json.dumps({"uri": f"/root/.clearml/cache/storage_manager/datasets/ds_{ID}/wine.csv"}),
        json.dumps({"uri": f"C:\\cache\\datasets\\ds_{ID}\\wine.csv"}),
        json.dumps({"url": f"https://app.clear.ml/datasets/simple/{OTHER}/experiments/{ID}"}),
        json.dumps({"url": f"https://app.clear.ml/projects/{OTHER}/tasks/{ID}/output/log"}),
        json.dumps({"url": f"https://files.clear.ml/a/.datasets/wine/wine.{ID}/artifacts/data/dataset.zip"}),
        json.dumps({"uri": f"clearml://{ID}"}),
        json.dumps({"path": ID}),
        ID,
    ],
)
def test_an_id_is_found_in_a_source(source: str) -> None:
    assert dataset_ids([logged(source)]) == {"wine": ID}


@pytest.mark.parametrize(
    "source",
    [
        "", "{", json.dumps({"uri": f"s3://bucket/{ID}/wine.csv"}), json.dumps({"uri": f"/data/ds_{ID}0/wine.csv"}),
        json.dumps({"url": f"https://mlflow.example.com/#/experiments/1/runs/{ID}"}), json.dumps({"digest": "0" * 31}),
    ],
)  # fmt: skip
def test_other_sources_have_none(source: str) -> None:
    assert dataset_ids([logged(source)]) == {}


def test_a_script_may_name_the_id_itself() -> None:
    assert dataset_ids([logged(ID, **{"clearml.dataset_id": OTHER})]) == {"wine": OTHER}
    assert dataset_ids([logged(ID, **{"clearml.dataset_id": "odd"})]) == {"wine": ID}


def command(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)


def test_sync_and_verify(server: ClearMLServer, client: MlflowClient) -> None:
    call = Session().call
    made = str(call("tasks.create", name="wine 1.0", type="data_processing", system_tags=["dataset", "hidden"])["id"])
    no_data_set = str(call("tasks.create", name="other", type="training")["id"])
    run_id = str(client.create_run("0").info.run_id)
    inputs = [
        DatasetInput(Dataset(name, "1", "local", json.dumps({"uri": f"/cache/datasets/ds_{each}/x.csv"})), [])
        for name, each in (("wine", made), ("odd", no_data_set), ("gone", "e" * 32))
    ]
    inputs.append(DatasetInput(Dataset("tagged", "1", "code", "{}"), [InputTag("clearml.dataset_id", made)]))
    client.log_inputs(run_id, inputs)
    client.set_terminated(run_id)
    assert [outcome["result"] for outcome in command("sync", "--run", run_id)] == ["synced"]
    task = task_of(server, run_id)
    assert section(task, "Datasets") == {"wine": made, "tagged": made}
    assert sdk_task(task["id"]).get_parameter("Datasets/wine") == made
    link = sdk_task(task["id"]).artifacts["data set wine"]
    assert link.url.endswith(f"/datasets/simple/*/experiments/{made}")
    assert command("verify", run_id)["same"] == 1
    call("tasks.edit", task=task["id"], force=True, hyperparams={**task["hyperparams"], "Datasets": {}})
    (different,) = command("verify", run_id)["different"]
    detail = "not linked to ClearML's data set: tagged, wine"
    assert different["differences"] == [{"what": "dataset", "detail": detail}]
    command("sync", "--full", "--run", run_id)
    assert command("verify", run_id)["same"] == 1
