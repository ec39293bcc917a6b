"""The private parts of MLflow that this package uses in its stores, one function each.

All were seen in MLflow 2.16 to 3.17, unless a function says otherwise. MLflow is imported when a function is called,
not with this module. The parts of MLflow that are patched in the training process are in `integrations`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

DATABASE_STORE, FOLDER_STORE = "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.file_store"
SERVER_STORE = "mlflow.store.tracking.rest_store"
"""The modules of MLflow's own tracking stores."""
_HTTP = ("http:", "https:")
_WORKSPACES = "mlflow.utils.workspace_context"
_importing = threading.Lock()

# Clients and stores


def tracking_client_class() -> Any:
    """Return the class of clients that keep one tracking URI, as `MlflowClient` uses them.

    `MlflowClient` itself looks for Spark each time that it is created. An import on one of the agent's threads while
    the training thread is inside one of MLflow's import hooks hangs both: they take Python's import lock and MLflow's
    in different orders (3.17).
    """
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    return TrackingServiceClient


def registry_client_class() -> Any:
    """Return the class of clients of a model registry."""
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    return ModelRegistryClient


def client_of(store: Any, kind: type, **uris: str) -> Any:
    """Return a client of class `kind` that keeps to a store, instead of looking one up by URI at each call.

    Looking it up would create a store if MLflow's cache has none.
    """
    client: Any = object.__new__(_without_lookup(kind))
    vars(client).update(uris, store=store)
    return client


@functools.cache
def _without_lookup(kind: type) -> type:
    return type(kind.__name__, (kind,), {"store": None})


def registry_uri(tracking_uri: str) -> str:
    """Return the address of the model registry beside a tracking store, as `MlflowClient` finds it."""
    from mlflow.tracking._model_registry import utils

    return str(utils._resolve_registry_uri(None, tracking_uri))


def import_clients(tracking_uri: str) -> None:
    """Import all that a client of a tracking store needs, without opening the store.

    MLflow imports the class of a store when it opens the first one. Threads that import parts of MLflow at the same
    time may find them half loaded, because its modules import each other in circles (3.17): the others wait here.
    """
    with _importing:
        import_module("mlflow.tracking")
        if tracking_uri.startswith(_HTTP):
            import_module(SERVER_STORE)
        elif tracking_uri.startswith(("sqlite", "postgresql", "mysql", "mssql")):
            import_module(DATABASE_STORE)


# Workspaces, of MLflow 3.10 and later


def active_workspace() -> str:
    """Return the workspace of MLflow's calls on this thread, "" if none; nothing is imported."""
    module = sys.modules.get(_WORKSPACES)
    return str(module.get_request_workspace() or "") if module is not None else ""


def workspace_variable() -> Any:
    """Return the context variable that names the workspace of a thread's calls, None if this MLflow has none."""
    try:
        return import_module(_WORKSPACES)._WORKSPACE
    except (ImportError, AttributeError):
        return None


def has_workspaces(store: Any) -> bool:
    """Return True if a tracking store has workspaces; a server is asked once, by a request that all of them answer."""
    return bool(getattr(store, "supports_workspaces", False))


def workspaces(tracking_uri: str) -> list[str]:
    """Return the names of the workspaces that the user may see.

    Only for a store that `has_workspaces`: any other server answers 503, which MLflow's client retries for minutes.
    """
    from mlflow.tracking._workspace.registry import get_workspace_store
    from mlflow.utils.workspace_utils import resolve_workspace_store_uri

    store = get_workspace_store(resolve_workspace_store_uri(tracking_uri=tracking_uri))
    return [str(workspace.name) for workspace in store.list_workspaces()]


# Keeping stores as they are


def set_default_artifact_root(folder: str) -> None:
    """Set the folder that MLflow creates when it opens a database, `./mlruns` otherwise."""
    from mlflow.tracking._tracking_service import utils

    utils.DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH = folder


def tables_are_current(engine: Any) -> bool:
    """Return True if a database has all tables of this MLflow, or if this MLflow cannot tell.

    MLflow 3.0 and 3.1 compare with a list that lacks their own new tables; their classes name them all.
    """
    try:
        from mlflow.store.db.utils import _all_tables_exist
    except ImportError:
        return True
    return bool(_all_tables_exist(engine)) or _has_tables_of_classes(engine)


def changes_nothing(arguments: Sequence[Any]) -> bool:
    """Return True if a database has what a wrapped call of `wrap_migrations` would create.

    Args:
        arguments: those of the call: an engine, or the configuration of Alembic, which has a connection.
    """
    bind = arguments[0] if arguments else None
    connection = getattr(bind, "attributes", {}).get("connection")
    engine = bind if connection is None else connection.engine
    if not hasattr(engine, "connect") or not _has_tables_of_classes(engine):
        return False
    from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version

    return bool(_get_schema_version(engine) == _get_latest_schema_revision())


def _has_tables_of_classes(engine: Any) -> bool:
    import sqlalchemy
    from mlflow.store.db.base_sql_model import Base

    for module in ("mlflow.store.model_registry.dbmodels.models", "mlflow.store.tracking.dbmodels.models"):
        import_module(module)
    return set(Base.metadata.tables) <= set(sqlalchemy.inspect(engine).get_table_names())


def wrap_migrations(wrapper: Callable[..., Any]) -> None:
    """Wrap the two functions by which MLflow creates and migrates tables; wrapping them again changes nothing."""
    import sqlalchemy
    from alembic import command

    from autoinstrument.integrations.wrapping import wrap

    for owner, name in ((sqlalchemy.MetaData, "create_all"), (command, "upgrade")):
        wrap(owner, name, wrapper)


# Models of MLflow 3


def logged_model(client: Any, model_id: str) -> Any:
    """Return a model as the store has it, also a deleted one if it can (3.8 and later), which the public call hides."""
    get = client.store.get_logged_model
    return get(model_id, **({"allow_deleted": True} if "allow_deleted" in inspect.signature(get).parameters else {}))


# Artifacts


def run_artifacts(client: Any, run_id: str) -> Any:
    """Return the artifact repository of a run; the public calls list a run's models among its files."""
    found = _behind_proxy(client.tracking_uri, run_id, lambda: client.get_run(run_id).info.artifact_uri)
    return found or client._get_artifact_repo(run_id)


def model_artifacts(client: Any, model_id: str) -> Any:
    """Return the artifact repository of a model (MLflow 3), for any tracking URI."""
    found = _behind_proxy(client.tracking_uri, model_id, lambda: client.get_logged_model(model_id).artifact_location)
    return found or client._get_artifact_repo(model_id, resource="logged_model")


def forget_artifact_repositories(most: int) -> None:
    """Drop all but the latest of the repositories that MLflow's clients keep, 1,024 for each process.

    One of SFTP holds two connections for each processor of the machine, 20 at most.
    """
    from mlflow.tracking._tracking_service import utils

    kept: Any = getattr(utils, "_artifact_repos_cache", {})
    while len(kept) > most:
        kept.popitem(last=False)


_behind_proxies: dict[tuple[str, str], Any] = {}


def _behind_proxy(tracking_uri: str, resource_id: str, find: Callable[[], str]) -> Any:
    """Return a repository behind a tracking server's proxy, None if MLflow's client finds it as well.

    The client of MLflow 2.16 to 3.0 takes the server that the whole process has set for the proxy, and not its own.

    Args:
        tracking_uri: the client's.
        resource_id: id of a run or model.
        find: returns the URI of its artifacts.
    """
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository as Proxied

    if not tracking_uri.startswith(_HTTP) or "tracking_uri" in inspect.signature(Proxied).parameters:
        return None
    key = tracking_uri, resource_id
    if key not in _behind_proxies:
        uri = find()
        if len(_behind_proxies) >= 256:  # of a process that follows a server
            _behind_proxies.clear()
        is_behind = uri.startswith("mlflow-artifacts:")
        _behind_proxies[key] = HttpArtifactRepository(Proxied.resolve_uri(uri, tracking_uri)) if is_behind else None
    return _behind_proxies[key]


def download(repository: Any, path: str, file: Path) -> None:
    """Download one file; the public `download_artifacts` draws a progress bar on stderr."""
    repository._download_file(path, str(file))
