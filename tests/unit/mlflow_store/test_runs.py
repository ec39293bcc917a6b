"""Runs are found by their ids, and those that a store has no more are told from a store that is away."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store import runs
from autoinstrument.mlflow_store.runs import find_run, find_runs
from autoinstrument.mlflow_store.runs_again import found_again
from autoinstrument.mlflow_store.store_errors import NotFoundError
from tests.end_to_end.conftest import database as database

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def refused(code: int, text: str) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise MlflowException(text, code)

    return call


def test_runs_are_found_again(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a service that has no search by ids; and one that is away is asked another time."""
    ids = [client.create_run("0").info.run_id for _ in range(3)]
    known = [find_run(run_id, client.tracking_uri) for run_id in ids]
    client.set_terminated(ids[0])
    client.delete_run(ids[1])
    gone = known[2]._replace(run=known[2].run._replace(run_id="f" * 32))

    def found() -> dict[str, tuple[bool, bool]]:
        return {each.run.run_id: (each.has_ended, each.deleted) for each in found_again([*known[:2], gone])}

    wanted = {ids[0]: (True, False), ids[1]: (False, True)}
    assert found() == wanted
    search = "mlflow.tracking._tracking_service.client.TrackingServiceClient.search_runs"
    with monkeypatch.context() as patch:
        patch.setattr(search, refused(INVALID_PARAMETER_VALUE, "Invalid attribute key 'run_id'"))
        assert found() == wanted
    monkeypatch.setattr(search, refused(TEMPORARILY_UNAVAILABLE, "restarts"))
    with pytest.raises(MlflowException, match="restarts"):
        found()


def test_the_404_of_a_gateway_does_not_mean_that_a_run_is_gone(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError):
        find_run("f" * 32, client.tracking_uri)
    monkeypatch.setattr(
        "mlflow.tracking._tracking_service.client.TrackingServiceClient.get_run",
        refused(RESOURCE_DOES_NOT_EXIST, "404: default backend"),
    )
    with pytest.raises(MlflowException, match="default backend"):
        find_run("f" * 32, client.tracking_uri)


def test_one_page_of_runs_is_in_memory(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has been released before the next one is read, and a search over several pages finds all runs."""
    monkeypatch.setattr(runs, "_RUNS", 2)
    ids = [client.create_run("0").info.run_id for _ in range(5)]
    name = "mlflow.tracking._tracking_service.client.TrackingServiceClient.search_runs"
    original, pages, held = resolve_name(name), list[weakref.ref[Any]](), list[int]()

    def search(*args: Any, **options: Any) -> Any:
        held.append(sum(page() is not None for page in pages))
        page = original(*args, **options)
        pages.append(weakref.ref(page))
        return page

    monkeypatch.setattr(name, search)
    assert {each.run.run_id for each in find_runs(client.tracking_uri)} == set(ids)
    assert held == [0, 0, 0]
