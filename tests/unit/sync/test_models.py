"""Models of a run that are copied to ClearML's storage by `sync`: of any age of MLflow, and where something fails."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient

from autoinstrument.cli import main
from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import task_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_ARTIFACTS", "upload")


def autoinstrument(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def logged(client: MlflowClient, run_id: str, uuid: str, content: str) -> None:
    """Log a model as MLflow 2 does: a folder of the run's artifacts, and an entry in a tag."""
    for name, text in (("MLmodel", f"flavors:\n  sklearn: {{}}\nmodel_uuid: {uuid}\n"), ("data/weights.bin", content)):
        client.log_text(run_id, text, f"my model/{name}")
    entry = {"artifact_path": "my model", "model_uuid": uuid, "flavors": {"sklearn": {}}, "run_id": run_id}
    client.set_tag(run_id, "mlflow.log-model.history", json.dumps([entry]))


@pytest.fixture
def run_id(client: MlflowClient, tmp_path: Path) -> str:
    experiment = client.create_experiment("old", artifact_location=str(tmp_path / "arti facts"))
    run_id: str = client.create_run(experiment).info.run_id
    logged(client, run_id, "a" * 32, "first")
    client.set_terminated(run_id)
    return run_id


def model(server: ClearMLServer) -> dict[str, Any]:
    (held,) = server.models
    return held


def metadata(server: ClearMLServer) -> dict[str, str]:
    return {key: item["value"] for key, item in model(server)["metadata"].items()}


def archive(server: ClearMLServer) -> dict[str, str]:
    """Return the texts of the model's archive by name."""
    path = model(server)["uri"].removeprefix(f"{server.files_url}/")
    with zipfile.ZipFile(io.BytesIO(server.files[path])) as package:
        return {name: package.read(name).decode() for name in package.namelist()}


def test_a_folder_of_the_run_is_packed_again_when_it_was_logged_again(
    client: MlflowClient, server: ClearMLServer, run_id: str
) -> None:
    for uuid, content in (("a" * 32, "first"), ("b" * 32, "secnd")):  # sizes do not show it
        logged(client, run_id, uuid, content)
        for _ in range(2):
            assert autoinstrument("sync", "--full", "--run", run_id).exit_code == 0
        assert archive(server) == {
            "MLmodel": f"flavors:\n  sklearn: {{}}\nmodel_uuid: {uuid}\n", "data/weights.bin": content,
        }  # fmt: skip
        assert model(server)["system_tags"] == ["package"]
        assert autoinstrument("verify", run_id).exit_code == 0
    packages = [call for call in server.calls("files.upload") if "model_package" in str(call)]
    assert len(packages) == 2


def test_a_file_server_that_is_away_leaves_the_copy_to_the_next_sync(server: ClearMLServer, run_id: str) -> None:
    """Until then the model links to MLflow, and `verify` reports it."""
    server.faults.add(Fault(endpoints="files.*", status=503))
    assert autoinstrument("sync", "--run", run_id).exit_code == 1
    assert model(server)["uri"].startswith("file://")
    assert "not copied" in autoinstrument("verify", run_id).output
    server.faults.clear()
    assert autoinstrument("sync", "--run", run_id, "--full").exit_code == 0
    assert archive(server)["data/weights.bin"] == "first"
    assert task_of(server, run_id)["status"] == "completed"


@pytest.mark.parametrize("full_disk", [True, False])
def test_a_model_that_cannot_be_packed_has_a_reason(
    client: MlflowClient, server: ClearMLServer, run_id: str, monkeypatch: pytest.MonkeyPatch, full_disk: bool
) -> None:
    """It goes on linking to MLflow; the temporary folder's disk is the training's too, and is never filled."""
    if full_disk:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=40))
    else:
        folder = Path(client.get_run(run_id).info.artifact_uri)
        (folder / "my model").rename(folder / "another")
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    assert model(server)["uri"].startswith("file://")
    assert model(server)["system_tags"] == []
    assert ("MB free" if full_disk else "there are none") in metadata(server)["mlflow_not_copied"]
    assert autoinstrument("verify", run_id).exit_code == 0
