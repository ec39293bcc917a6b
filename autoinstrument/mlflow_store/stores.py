"""Clients of MLflow's stores, in any process, that create and migrate nothing.

In a training process they use the stores that the training itself has opened; in the worker and in commands a store is
opened if it exists.
"""

from __future__ import annotations

from typing import Any

from autoinstrument.mlflow_store import internals, training_stores
from autoinstrument.mlflow_store.folder_store import reading_lines
from autoinstrument.mlflow_store.opening import REGISTRY, TRACKING, check_exists, opened


def tracking_client(tracking_uri: str) -> Any:
    """Return a `TrackingServiceClient` that keeps to one store; this imports nothing that is not loaded yet.

    Raises:
        StoreNotThereError: there is no such store, or this is a training process that has not opened it.
        mlflow.exceptions.MlflowException: it does not answer.
    """
    if not training_stores.are_watched():  # else it is loaded
        internals.import_clients(tracking_uri)
    client_class = internals.tracking_client_class()
    if training_stores.are_watched():
        store, _ = training_stores.find(TRACKING, tracking_uri)
    else:
        check_exists(TRACKING, tracking_uri, for_training=False)
        store = opened(client_class, tracking_uri)
    return internals.client_of(reading_lines(store), client_class, tracking_uri=tracking_uri)


def registry_client(tracking_uri: str) -> Any:
    """Return a `ModelRegistryClient` that keeps to one store: the registry beside a tracking store.

    Raises:
        StoreNotThereError: there is no registry, or this is a training process that has not opened it.
        mlflow.exceptions.MlflowException: it does not answer.
    """
    client_class = internals.registry_client_class()
    if training_stores.are_watched():
        store, uri = training_stores.find(REGISTRY, tracking_uri)
    else:
        uri = internals.registry_uri(tracking_uri)
        check_exists(REGISTRY, uri, for_training=False)
        store = opened(client_class, uri, tracking_uri)
    return internals.client_of(store, client_class, registry_uri=uri, tracking_uri=tracking_uri)


class StoreClient:
    """MLflow's clients of a tracking store, and of the registry beside it.

    Attributes:
        tracking_uri: address of the tracking store.
        workspace: the workspace in which calls are made, by those who make them: `store_access`, `in_workspace`.
        lacks: see `FoundRun.lacks`: what is not asked for.
        tracking: the client that `tracking_client` returns; the constructor raises what that raises.
    """

    def __init__(self, tracking_uri: str, workspace: str = "", lacks: frozenset[str] = frozenset()) -> None:
        self.tracking_uri, self.workspace, self.lacks = tracking_uri, workspace, lacks
        self.tracking = tracking_client(tracking_uri)

    def registry(self) -> Any:
        """Return what `registry_client` returns, and raise what it raises."""
        return registry_client(self.tracking_uri)
