"""Reach MLflow's stores without creating, migrating or reviving one.

MLflow's database stores create missing tables and migrate old ones when they are constructed, its folder stores create
folders, and its clients construct a store wherever the cache has none for their URI. Alembic, which migrates, keeps its
state in one global, so two threads that open stores break each other (all seen in mlflow 2.16 to 3.17).

In the training process a store is therefore used only if the training's own clients have opened it: `note_stores`
watches for that. In the worker and in commands a store is opened if it is there, and nothing is made in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

from autoinstrument.guard import guard, is_ourselves, ourselves
from autoinstrument.integrations.wrapping import wrap
from autoinstrument.mlflow_store.client import keep_folders_away
from autoinstrument.mlflow_store.store_errors import NoStoreError, StoreNotThereError, require_tables
from autoinstrument.mlflow_store.urls import absolute, local_store
from autoinstrument.scrubber import without_credentials
from autoinstrument.tracebacks import users_call

_TRACKING, _REGISTRY = "tracking store", "model registry"


class _WouldBeChangedError(Exception):
    """MLflow is about to create or migrate tables for the agent."""


_training = False
"""True in a process whose MLflow clients are watched."""
_opened: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
"""Stores that the training has opened, by kind and the tracking URI as its clients have it; the latest of each."""
_names: dict[tuple[str, str], tuple[str, str]] = {}
"""By kind and absolute tracking URI: the tracking URI as the clients have it, and the store's own URI."""


# In the training process


def note_stores(module: ModuleType, class_name: str) -> None:
    """Note which stores the clients of a class open: `TrackingServiceClient` or `ModelRegistryClient`.

    Both look their store up anew each time that they use it, by the property `store` (seen in mlflow 2.16 to 3.17).
    Without it nothing is noted, and what is to be read from the store is left to the worker.
    """
    global _training
    _training = True
    owner = vars(module).get(class_name)
    original = vars(owner).get("store") if isinstance(owner, type) else None
    if isinstance(original, property) and not isinstance(original, _Noting):
        kind = _REGISTRY if class_name == "ModelRegistryClient" else _TRACKING
        setattr(owner, "store", _Noting(kind, original.fget))  # noqa: B010  (mypy knows no such attribute)


class _Noting(property):
    """MLflow's property `store`, which also notes the store that it gave."""

    def __init__(self, kind: str, find: Any) -> None:
        def store(client: Any) -> Any:
            with users_call:
                found = find(client)
            with guard("noting a store"):
                if _opened.get((kind, client.tracking_uri)) is not found and not is_ourselves():
                    _note(kind, client, found)
            return found

        super().__init__(store, doc=find.__doc__)


def _note(kind: str, client: Any, store: Any) -> None:
    given = client.tracking_uri
    _names[kind, absolute(given)] = given, getattr(client, "registry_uri", given)
    _opened[kind, given] = store


def _find_opened(kind: str, tracking_uri: str) -> Any:
    """Return the store that the training has opened, as long as that leads to the same place."""
    place = absolute(tracking_uri)
    given, uri = _names.get((kind, place), ("", ""))
    store = _opened.get((kind, given))
    if store is None or absolute(given) != place:  # a relative URI leads elsewhere from another working directory
        raise StoreNotThereError(f"the training has not opened the {kind} of {without_credentials(place)}")
    _check_is_there(kind, uri)
    return store


# In any process


def tracking_client(tracking_uri: str) -> Any:
    """Return a `TrackingServiceClient` that keeps to one store; making it imports nothing that is not loaded yet.

    `MlflowClient` looks for Spark each time, and an import on a thread of ours while the training thread is inside one
    of MLflow's import hooks hangs both: they take Python's import lock and MLflow's in different orders (mlflow 3.17).

    Raises:
        StoreNotThereError: there is no such store, or this is a training process that has not opened it.
        mlflow.exceptions.MlflowException: it does not answer.
    """
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    if _training:
        store = _find_opened(_TRACKING, tracking_uri)
    else:
        _check_is_there(_TRACKING, tracking_uri)
        store = _open(TrackingServiceClient, tracking_uri)
    return _keeping_to(TrackingServiceClient, store, tracking_uri=tracking_uri)


def registry_client(tracking_uri: str) -> Any:
    """Return a `ModelRegistryClient` that keeps to one store: that of the registry beside a tracking store.

    Raises:
        StoreNotThereError: there is no registry, or this is a training process that has not opened it.
        mlflow.exceptions.MlflowException: it does not answer.
    """
    from mlflow.tracking._model_registry import utils
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    if _training:
        store = _find_opened(_REGISTRY, tracking_uri)
        uri = _names[_REGISTRY, absolute(tracking_uri)][1]
    else:
        uri = utils._resolve_registry_uri(None, tracking_uri)  # as `MlflowClient` does (mlflow 2.16 to 3.17)
        _check_is_there(_REGISTRY, uri)
        store = _open(ModelRegistryClient, uri, tracking_uri)
    return _keeping_to(ModelRegistryClient, store, registry_uri=uri, tracking_uri=tracking_uri)


class StoreClient:
    """MLflow's clients of a tracking store, and of the registry beside it.

    Attributes:
        tracking: as `tracking_client` returns it, and raises.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self.tracking = tracking_client(tracking_uri)

    def registry(self) -> Any:
        """Return what `registry_client` returns, and raise what it raises."""
        return registry_client(self.tracking_uri)


def _keeping_to(kind: type, store: Any, **uris: str) -> Any:
    """Return a client of MLflow's that does not look its store up by the URI, which would make a new one if need be."""
    client: Any = object.__new__(_kept(kind))
    vars(client).update(uris, store=store)
    return client


@functools.cache
def _kept(kind: type) -> type:
    return type(kind.__name__, (kind,), {"store": None})


@functools.lru_cache(maxsize=8)
def _open(kind: Callable[..., Any], *uris: str) -> Any:
    """Return a store, opened by a client of MLflow's, which is kept from making anything in a database."""
    with ourselves():
        if "sql" in uris[0].split(":")[0]:
            require_tables(uris[0])
            _refuse_changes()
        keep_folders_away()
        try:
            return kind(*uris).store
        except _WouldBeChangedError:
            shown = without_credentials(uris[0])
            raise StoreNotThereError(f"{shown} lacks tables of this MLflow; nothing was changed") from None


def _refuse_changes() -> None:
    """Have the agent's own threads refused where MLflow creates and migrates tables: it does both by these two."""
    import sqlalchemy
    from alembic import command

    for owner, name in ((sqlalchemy.MetaData, "create_all"), (command, "upgrade")):
        wrap(owner, name, _unless_ourselves)


def _unless_ourselves(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if is_ourselves():
        raise _WouldBeChangedError
    return wrapped(*args, **kwargs)


def _check_is_there(kind: str, uri: str) -> None:
    """Look whether a store of this machine is there: SQLite makes a file, MLflow a folder, where there is none.

    Raises:
        StoreNotThereError: it is not.
    """
    path = local_store(uri)
    if path is None or _holds_store(kind, path):
        return
    if kind == _TRACKING and not _training:
        raise NoStoreError(uri, "has no experiments" if path.is_dir() else "does not exist")
    raise StoreNotThereError(f"there is no {kind} at {without_credentials(absolute(uri))}")


def _holds_store(kind: str, path: Path) -> bool:
    try:
        if not path.is_dir():
            return path.stat().st_size > 0
        if kind == _REGISTRY:
            return (path / "models").is_dir()
        return (path / ".trash").is_dir() or any(path.glob("*/meta.yaml"))
    except OSError:
        return False
