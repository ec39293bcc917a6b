"""The registry is read as a whole: versions by run, and which runs' versions have changed since."""

from __future__ import annotations

import types
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from autoinstrument.guard import logger
from autoinstrument.mlflow_store import registry as module
from autoinstrument.mlflow_store.models import read_models
from autoinstrument.mlflow_store.registry import Registry, versions_by_run
from autoinstrument.mlflow_store.stores import StoreClient

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def runs(client: MlflowClient) -> list[str]:
    """Two runs, each with a version of one model."""
    runs = [str(client.create_run("0").info.run_id) for _ in range(2)]
    client.create_registered_model("iris")
    for run in runs:
        client.create_model_version("iris", f"s3://bucket/{run}", run)
    return runs


def test_a_search_equals_the_state_of_each_run(client: MlflowClient, runs: list[str]) -> None:
    """Else a run would look changed for ever."""
    client.set_registered_model_alias("iris", "champion", "1")
    client.set_registered_model_alias("iris", "best", "1")
    client.transition_model_version_stage("iris", "2", "Production")
    client.set_model_version_tag("iris", "2", "validated", "yes")
    client.update_model_version("iris", "2", "the second")
    client.create_model_version("iris", "s3://bucket/of-no-run")
    found = versions_by_run(client.tracking_uri)
    assert found is not None
    assert found.keys() == set(runs)
    for run in runs:
        own = read_models(StoreClient(client.tracking_uri), client.get_run(run))
        assert found[run] == own.models[0]["versions"]
    assert [version["aliases"] for version in found[runs[0]]] == [["best", "champion"]]


def test_runs_whose_versions_have_changed(client: MlflowClient, runs: list[str]) -> None:
    """A moved alias changes two runs; the first reading changes none."""
    registry = Registry(client.tracking_uri, keep_s=0)
    assert registry.changed() == set()
    client.set_registered_model_alias("iris", "champion", "1")
    _read_again(registry)
    assert registry.changed() == {runs[0]}
    client.set_registered_model_alias("iris", "champion", "2")
    _read_again(registry)
    assert registry.changed() == set(runs)
    client.delete_model_version("iris", "2")
    _read_again(registry)
    assert registry.changed() == {runs[1]}
    assert registry.of_run(runs[1]) == []


def _read_again(registry: Registry) -> None:
    registry._next_at = 0.0


def test_the_registry_is_read_once_for_many_runs(
    client: MlflowClient, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def read(uri: str) -> Any:
        reads.append(uri)
        return versions_by_run(uri)

    monkeypatch.setattr(module, "versions_by_run", read)
    registry = Registry(client.tracking_uri)
    assert all(registry.of_run(run) for run in runs * 3)
    assert len(reads) == 1


def test_a_registry_that_does_not_answer_changes_nothing(
    client: MlflowClient, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line reports it; later changes are noticed when it answers again."""
    warnings: list[str] = []
    monkeypatch.setattr(logger(), "warning", lambda text, *values: warnings.append(text % values))
    registry = Registry(client.tracking_uri, keep_s=0)
    registry.changed()
    client.set_registered_model_alias("iris", "champion", "1")
    with monkeypatch.context() as away:
        away.setattr(module, "registry_client", lambda _: types.SimpleNamespace(search_registered_models=_fail))
        for _ in range(2):
            _read_again(registry)
            assert registry.of_run(runs[0]) is None
            assert registry.changed() == set()
    (line,) = warnings
    assert line.endswith("the registry cannot be read (MLflow: ConnectionError: away)")
    _read_again(registry)
    assert registry.changed() == {runs[0]}


def _fail(**_: Any) -> None:
    raise ConnectionError("away")


def test_a_registry_that_lists_no_aliases_is_not_compared(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "databricks-uc")
    assert versions_by_run(client.tracking_uri) is None
