"""Models that a run reads are noted, whatever calls for them, and nothing else is."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient, artifact_utils
from mlflow.tracking._tracking_service import client as tracking_module

from autoinstrument.integrations import mlflow_inputs
from autoinstrument.integrations.mlflow_internals import FETCH
from autoinstrument.integrations.mlflow_tracking import instrument_client
from autoinstrument.records import EventsDropped, ModelsRead
from tests.unit.integrations.conftest import Recorder, copied

SAVED = "flavors:\n  sklearn: {}\n"


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_inputs, "_seen", {})
    mlflow_inputs._before.clear()


@pytest.fixture
def client(uri: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the tracking store that the agent watches."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    recorder.tracking_uri = uri
    copy = copied(tracking_module, "TrackingServiceClient")
    instrument_client(copy)
    return copy.TrackingServiceClient(uri)


@pytest.fixture
def fetch(recorder: Recorder) -> Iterator[Any]:
    """MLflow's function that fetches artifacts, wrapped in a copy of its module."""
    copy = types.ModuleType(artifact_utils.__name__)
    vars(copy).update(vars(artifact_utils))
    original = getattr(artifact_utils, FETCH)
    mlflow_inputs.instrument_fetching(copy)
    yield getattr(copy, FETCH)
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(FETCH) is getattr(copy, FETCH):
            setattr(module, FETCH, original)


def folder(path: Path, text: str) -> str:
    path.mkdir(parents=True, exist_ok=True)
    (path / "MLmodel").write_text(text, "utf-8")
    return str(path)


def logged(run_id: str, path: str = "line") -> str:
    return f"artifact_path: {path}\n{SAVED}run_id: {run_id}\n"


def test_a_model_of_another_run_is_read_from_the_store(
    client: Any, fetch: Any, recorder: Recorder, tmp_path: Path, uri: str
) -> None:
    producer = str(MlflowClient(uri).create_run("0").info.run_id)
    run_id = str(client.create_run("0").info.run_id)
    place = folder(tmp_path / "model", logged(producer))
    for _ in range(3):
        assert fetch(artifact_uri=place) == place
    assert recorder.reads.keys() == {(run_id, "input models")}
    recorder.reads.clear()
    fetch(place)
    assert not recorder.reads, "it is known by now"
    record = mlflow_inputs._read(recorder, run_id)  # type: ignore[arg-type]
    assert isinstance(record, ModelsRead)
    assert [(model["uri"], model["source_run"]) for model in record.models] == [(f"runs:/{producer}/line", producer)]


def test_folders_without_a_logged_model_are_not_noted(
    client: Any, fetch: Any, recorder: Recorder, tmp_path: Path
) -> None:
    client.create_run("0")
    place = folder(tmp_path / "model", logged("e" * 32))
    fetch(str(Path(place) / "MLmodel"))
    fetch(str(tmp_path))
    fetch(folder(tmp_path / "saved", SAVED))
    with pytest.raises(Exception, match="nowhere"):
        fetch(str(tmp_path / "nowhere"))
    assert not recorder.reads


def test_models_that_were_read_before_a_run_belong_to_this_run_only(
    client: Any, fetch: Any, recorder: Recorder, tmp_path: Path
) -> None:
    place = folder(tmp_path / "model", logged("e" * 32))
    fetch(place)
    fetch(place)
    assert not recorder.reads
    first = str(client.create_run("0").info.run_id)
    assert recorder.reads.keys() == {(first, "input models")}
    recorder.runs.clear()  # it has ended
    client.create_run("0")
    assert recorder.reads.keys() == {(first, "input models")}


@pytest.mark.swallows("reading a run's input models: StoreNotThereError")
def test_a_model_is_named_as_it_was_seen_if_mlflow_does_not_answer(
    client: Any, fetch: Any, recorder: Recorder, tmp_path: Path, uri: str
) -> None:
    run_id = str(client.create_run("0").info.run_id)
    fetch(folder(tmp_path / "model", logged("e" * 32)))
    recorder.tracking_uri = f"{uri}.gone"
    record = recorder.reads[run_id, "input models"]()
    assert isinstance(record, ModelsRead)
    assert [model["uri"] for model in record.models] == [f"runs:/{'e' * 32}/line"]
    assert recorder.of_type(EventsDropped) == [EventsDropped(run_id, 0)], "MLflow may know of others"


def test_the_function_is_wrapped_where_it_was_imported_before(fetch: Any) -> None:
    assert vars(sys.modules["mlflow.artifacts"])[FETCH] is fetch
