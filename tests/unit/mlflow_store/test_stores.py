"""Stores that exist are opened, and nothing is made in them; see `tests/end_to_end/test_stores.py`."""

from __future__ import annotations

import gc
import hashlib
import logging
import shutil
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._model_registry.client import ModelRegistryClient
from mlflow.tracking._tracking_service.client import TrackingServiceClient

from autoinstrument.guard import own_calls
from autoinstrument.mirror.mapping import model_fields
from autoinstrument.mlflow_store import training_stores
from autoinstrument.mlflow_store.models import read_models
from autoinstrument.mlflow_store.run_reader import open_run
from autoinstrument.mlflow_store.runs import find_runs, latest_runs
from autoinstrument.mlflow_store.store_errors import StoreNotThereError
from autoinstrument.mlflow_store.stores import StoreClient, tracking_client
from autoinstrument.mlflow_store.training_stores import note_stores
from autoinstrument.records import Model, Version
from tests.end_to_end.conftest import database as database


def content(folder: Path) -> dict[str, str]:
    """Return all that is below a folder, files by their hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def old_database(path: Path) -> None:
    """Make a database as MLflow's first versions did, which the present ones migrate as soon as they open it."""
    import sqlalchemy
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()


@pytest.mark.parametrize("kind", ["no file", "empty file", "older", "another one's", "no folder", "any folder"])
def test_a_folder_without_a_store_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/below/mlflow.db" if kind == "no file" else f"sqlite:///{tmp_path}/mlflow.db"
    if kind == "empty file":
        (tmp_path / "mlflow.db").touch()
    elif kind == "older":
        old_database(tmp_path / "mlflow.db")
    elif kind == "another one's":
        import sqlite3

        with sqlite3.connect(tmp_path / "mlflow.db") as connection:
            connection.execute("CREATE TABLE theirs (number INTEGER)")
    elif "folder" in kind:
        uri = (tmp_path / "runs").as_uri()
        if kind == "any folder":
            (tmp_path / "runs" / "papers").mkdir(parents=True)
    before = content(tmp_path)
    for ask in (latest_runs, lambda uri: list(find_runs(uri)), lambda uri: open_run(uri, "0" * 32)):
        with pytest.raises(StoreNotThereError, match=str(tmp_path)):
            ask(uri)
    assert content(tmp_path) == before


def test_another_thread_may_still_make_stores(tmp_path: Path) -> None:
    """As a script does in which the worker is a thread, or this package's own tests."""
    old_database(tmp_path / "old.db")
    with pytest.raises(StoreNotThereError):
        tracking_client(f"sqlite:///{tmp_path}/old.db")
    assert MlflowClient(f"sqlite:///{tmp_path}/new.db").search_experiments()


@pytest.fixture
def client(tmp_path: Path, database: Path) -> MlflowClient:
    shutil.copy(database, tmp_path / "mlflow.db")
    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.mark.parametrize("registry", ["registry.db", "elsewhere"])
def test_a_registry_is_asked_only_if_there_is_one(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    """Else nothing is known of versions, and those that a Task has stay."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/registry.db" if registry == "registry.db" else (tmp_path / registry).as_uri()
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    run = client.create_run("0")
    logged = {"mlflow.log-model.history": '[{"artifact_path": "model", "flavors": {"sklearn": {}}}]'}
    for key, value in logged.items():
        client.set_tag(run.info.run_id, key, value)

    def versions() -> Any:
        found = read_models(StoreClient(client.tracking_uri), client.get_run(run.info.run_id))
        return [model["versions"] for model in found.models]

    before = content(tmp_path)
    assert versions() == [None]
    assert content(tmp_path) == before
    own = MlflowClient(tracking_uri=client.tracking_uri, registry_uri=uri)
    own.create_registered_model("iris")
    own.create_model_version("iris", f"runs:/{run.info.run_id}/model", run.info.run_id)
    ((version,),) = versions()
    assert (version["name"], version["version"]) == ("iris", "1")


def test_versions_stay_if_the_registry_was_not_asked() -> None:
    """As where a run is resumed by a process that logs another model and has nothing to do with the registry."""
    version = Version(name="iris", version="1", stage="", aliases=["champion"], tags={}, description="")
    model = Model(
        uri="models:/m-1", name="line", location="/line", revision="", flavors=[], tags={}, versions=[version],
        status="READY", kind="", source_run="run", params={}, points=[],
    )  # fmt: skip
    metadata = model_fields.wanted(model, "run").metadata
    held = {"metadata": {key: {"key": key, "value": value} for key, value in metadata.items()}}
    assert model_fields.is_left_alone(held, Model({**model, "versions": None}))
    assert not model_fields.is_left_alone(held, Model({**model, "versions": []}))
    assert not model_fields.is_left_alone({"metadata": {}}, Model({**model, "versions": None}))


# As in a training process


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """MLflow's clients, watched as those of a training process; a module like those of MLflow that define them."""
    monkeypatch.setattr(training_stores, "_watched", False)  # and so again afterwards
    module = types.ModuleType("clients")
    for kind in (TrackingServiceClient, ModelRegistryClient):
        setattr(module, kind.__name__, type(kind.__name__, (kind,), {"store": vars(kind)["store"]}))
        note_stores(module, kind.__name__)
    return module


def test_only_stores_that_the_training_has_opened_are_used(client: MlflowClient, training: Any) -> None:
    with pytest.raises(StoreNotThereError, match="has not opened the tracking store"):
        tracking_client(client.tracking_uri)
    opened = training.TrackingServiceClient(client.tracking_uri)
    assert tracking_client(client.tracking_uri).store is opened.store
    with pytest.raises(StoreNotThereError, match="has not opened the model registry"):
        StoreClient(client.tracking_uri).registry()
    registry = training.ModelRegistryClient(client.tracking_uri, client.tracking_uri)
    assert StoreClient(client.tracking_uri).registry().store is registry.store


def test_a_store_that_is_gone_is_not_used(client: MlflowClient, training: Any, tmp_path: Path) -> None:
    training.TrackingServiceClient(client.tracking_uri)
    (tmp_path / "mlflow.db").unlink()
    with pytest.raises(StoreNotThereError, match="there is no tracking store at"):
        tracking_client(client.tracking_uri)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_relative_store_is_not_looked_for_elsewhere(
    client: MlflowClient, training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens further connections in the working directory of that moment, MLflow's store is the same object."""
    monkeypatch.chdir(tmp_path)
    training.TrackingServiceClient("sqlite:///mlflow.db")
    assert tracking_client(client.tracking_uri).search_experiments()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for uri in (client.tracking_uri, "sqlite:///mlflow.db"):
        with pytest.raises(StoreNotThereError):
            tracking_client(uri)
    assert not (tmp_path / "elsewhere" / "mlflow.db").exists()


def test_no_store_outlives_its_clients(tmp_path: Path, training: Any) -> None:
    """The notes about stores keep no connection open that MLflow has dropped."""
    (tmp_path / "mlflow.db").write_text("not empty")
    held = {"store": type("Store", (), {})()}
    client_kind = type("Client", (training.TrackingServiceClient,), {})
    setattr(client_kind, "store", training_stores.NotingProperty("tracking store", lambda _: held["store"]))  # noqa: B010
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert client_kind(uri).store is tracking_client(uri).store is held["store"]
    held.clear()
    gc.collect()
    with pytest.raises(StoreNotThereError):
        tracking_client(uri)


# Logging


def test_only_the_agents_own_calls_are_kept_out_of_the_log() -> None:
    """With any handlers; another thread's messages pass meanwhile, and the agent's logger still works."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, root, log = Handler(), logging.getLogger(), logging.getLogger("mlflow.store.of.a.test")
    before = list(root.filters), list(logging.getLogger("of.the.user").filters)
    root.addHandler(handler)
    own = logging.getLogger("mlflow.store")
    own.addHandler(handler)
    try:
        with own_calls():
            log.error("the agent's call")
            other = threading.Thread(target=log.error, args=("the user's thread",))
            other.start()
            other.join()
            logging.getLogger("of.the.user").error("not of a library")
        log.error("the user's call")
    finally:
        root.removeHandler(handler)
        own.removeHandler(handler)
    assert list(dict.fromkeys(lines)) == ["the user's thread", "not of a library", "the user's call"]
    assert (list(root.filters), list(logging.getLogger("of.the.user").filters)) == before
