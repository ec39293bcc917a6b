"""Each private part of MLflow that is used is there, and does what it is used for."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import history_internals, internals
from tests.end_to_end.conftest import database as database
from tests.startup.environment import ROOT


@pytest.fixture
def uri(tmp_path: Path, database: Path) -> str:
    shutil.copy(database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def client(uri: str, tmp_path: Path) -> MlflowClient:
    made = MlflowClient(tracking_uri=uri)
    made.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    return made


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    made: str = client.create_run(client.get_experiment_by_name("e").experiment_id).info.run_id
    return made


def test_a_client_keeps_to_its_store(uri: str, client: MlflowClient, run_id: str) -> None:
    kind = internals.tracking_client_class()
    assert isinstance(client._tracking_client, kind)
    store = client._tracking_client.store
    kept = internals.client_of(store, kind, tracking_uri="sqlite:///elsewhere")
    assert kept.store is store
    assert kept.get_run(run_id).info.run_id == run_id
    registry = internals.client_of("a store", internals.registry_client_class(), registry_uri=uri, tracking_uri=uri)
    assert registry.store == "a store"


def test_the_registry_beside_a_store(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert internals.registry_uri(uri) == uri
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry")
    assert internals.registry_uri(uri) == "http://registry"


@pytest.mark.parametrize("tracking_uri", ["sqlite:///x", "http://h", "file:///x"])
def test_the_modules_of_clients_can_be_imported(tracking_uri: str) -> None:
    internals.import_clients(tracking_uri)


def test_the_default_artifact_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mlflow.tracking._tracking_service import utils

    monkeypatch.setattr(utils, "DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH", "before")
    internals.set_default_artifact_root(str(tmp_path))
    assert str(tmp_path) == utils.DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH


def test_whether_tables_are_current(uri: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    assert internals.tables_are_current(engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE metrics"))
    assert not internals.tables_are_current(engine)
    engine.dispose()


def test_migrations_go_through_the_two_functions_that_are_wrapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal in these functions is a refusal to MLflow."""
    for owner, name in ((sqlalchemy.MetaData, "create_all"), (command, "upgrade")):
        wrapped_before = getattr(owner, name)  # by the agent, if another test has had it open a store
        monkeypatch.setattr(owner, name, getattr(wrapped_before, "__wrapped__", wrapped_before))
    refused: list[str] = []

    class _RefusedError(Exception):
        pass

    def wrapper(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        refused.append(wrapped.__name__)
        raise _RefusedError

    internals.wrap_migrations(wrapper)
    with pytest.raises(_RefusedError):
        _ = internals.tracking_client_class()(f"sqlite:///{tmp_path}/new.db").store
    assert refused
    assert set(refused) <= {"create_all", "upgrade"}


def test_files_of_a_run_are_listed_and_downloaded(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    client.log_text(run_id, "content", "folder/a.txt")
    repository = internals.run_artifacts(client._tracking_client, run_id)
    assert [info.path for info in repository.list_artifacts("folder")] == ["folder/a.txt"]
    internals.download(repository, "folder/a.txt", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "content"


@pytest.mark.skipif(not hasattr(MlflowClient, "create_logged_model"), reason="MLflow 3")
def test_files_of_a_model(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, source_run_id=run_id)
    (tmp_path / "MLmodel").write_text("flavors: {}")
    client.log_model_artifact(model.model_id, str(tmp_path / "MLmodel"))
    repository = internals.model_artifacts(client._tracking_client, model.model_id)
    internals.download(repository, "MLmodel", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "flavors: {}"


def test_a_database_of_the_latest_revision_is_not_migrated(client: MlflowClient, tmp_path: Path) -> None:
    """MLflow 3.0 and 3.1 ask for it each time."""
    engine = client._tracking_client.store.engine
    with engine.connect() as connection:
        config = SimpleNamespace(attributes={"connection": connection})
        assert internals.changes_nothing([config, "heads"])
    assert internals.changes_nothing([engine])
    assert not internals.changes_nothing([sqlalchemy.create_engine(f"sqlite:///{tmp_path}/new.db")])
    assert not internals.changes_nothing([])


def test_points_of_a_database(client: MlflowClient, run_id: str) -> None:
    client.log_batch(run_id, [Metric("loss", step / 2, 10 * step, step) for step in range(5)])
    store = client._tracking_client.store
    assert history_internals.history_module(store) == internals.DATABASE_STORE
    rows = history_internals.metric_rows(store, run_id, "loss", (1, 0), 1, 2)
    assert [(row.step, row.timestamp, row.value, row.is_nan) for row in rows] == [(2, 20, 1.0, 0), (3, 30, 1.5, 0)]
    assert history_internals.metric_rows(store, run_id, "other", (0, 0), 0, 2) == []


def test_the_file_of_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking.file_store import FileStore

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = FileStore(str(tmp_path / "runs"))
    client = MlflowClient((tmp_path / "runs").as_uri())
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "loss", 0.5, timestamp=7, step=3)
    assert history_internals.history_module(store) == internals.FOLDER_STORE
    assert history_internals.metric_file(store, run_id, "loss").read_text().split()[:3] == ["7", "0.5", "3"]


def test_a_store_without_histories() -> None:
    assert history_internals.history_module(object()) == ""


def test_no_other_module_names_a_private_part() -> None:
    """MLflow's private modules and its stores' classes are imported in the modules for that alone."""
    for file in (ROOT / "autoinstrument" / "mlflow_store").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            is_private = module.startswith("mlflow.") and (".store" in module or "._" in module)
            assert not is_private or file.name.endswith("internals.py"), f"{file.name}: {module}"
            if isinstance(node, ast.Attribute) and re.match("_(?!_|replace)", node.attr):
                is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "internals")
                assert is_own or file.name.endswith("internals.py"), f"{file.name}: {node.attr}"
