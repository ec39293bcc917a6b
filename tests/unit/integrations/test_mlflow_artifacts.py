"""Files that are logged become records with the content of small ones, read before a temporary file is gone."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking._tracking_service import client as module

from autoinstrument.integrations import mlflow_artifacts
from autoinstrument.integrations.wrapping import wrap_methods
from autoinstrument.records import ArtifactLogged, EventsDropped
from autoinstrument.settings import Settings
from tests.unit.integrations.conftest import Recorder, copied


@pytest.fixture
def client(uri: str, recorder: Recorder) -> Any:
    """A client of MLflow's whose methods for files are wrapped."""
    copy = copied(module, "TrackingServiceClient")
    wrap_methods(copy, "TrackingServiceClient", mlflow_artifacts.METHODS)
    return copy.TrackingServiceClient(uri)


@pytest.fixture
def run_id(client: Any, recorder: Recorder, uri: str) -> str:
    run_id = str(client.create_run("0").info.run_id)
    recorder.runs.append(run_id)
    return run_id


def files(recorder: Recorder) -> dict[str, tuple[int, bytes | None]]:
    """Return size and content by path."""
    return {
        record.path: (record.size, None if record.content is None else base64.b64decode(record.content))
        for record in recorder.of_type(ArtifactLogged)
    }


def test_a_small_file_comes_with_its_content(client: Any, run_id: str, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("all is well")
    client.log_artifact(run_id, tmp_path / "report.txt")
    client.log_artifact(run_id, str(tmp_path / "report.txt"), "a/b")
    (tmp_path / "report.txt").unlink()
    expected = (11, b"all is well")
    assert files(recorder) == {"report.txt": expected, "a/b/report.txt": expected}
    assert [file.path for file in client.list_artifacts(run_id)] == ["a", "report.txt"]


def test_a_folder_is_each_of_its_files(client: Any, run_id: str, recorder: Recorder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("x")
    (folder / "data" / "weights.bin").write_bytes(bytes(2**20))
    client.log_artifact(run_id, folder)
    client.log_artifacts(run_id, folder, "copy")
    paths = {"model/MLmodel", "model/data/weights.bin", "copy/MLmodel", "copy/data/weights.bin"}
    assert files(recorder).keys() == paths
    assert files(recorder)["copy/data/weights.bin"][0] == 2**20


def test_a_name_that_a_server_may_cut_is_left_to_the_store(
    client: Any, run_id: str, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's HTTP client puts `a#b.txt` into a URL as it is."""
    (tmp_path / "a#b.txt").write_text("x")
    client.log_artifact(run_id, tmp_path / "a#b.txt")
    assert files(recorder).keys() == {"a#b.txt"}, "an object store keeps the name"
    recorder.records.clear()
    monkeypatch.setattr(recorder, "artifact_root", lambda run_id: "mlflow-artifacts:/1")
    client.log_artifact(run_id, tmp_path / "a#b.txt")
    assert recorder.records == [EventsDropped(run_id, 0)]


def test_nothing_is_read_where_artifacts_are_off(client: Any, run_id: str, recorder: Recorder, tmp_path: Path) -> None:
    recorder.settings = Settings(artifacts="off")
    (tmp_path / "report.txt").write_text("x")
    client.log_artifact(run_id, tmp_path / "report.txt")
    assert recorder.records == []
