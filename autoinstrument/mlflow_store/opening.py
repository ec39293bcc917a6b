"""Open MLflow's stores in the worker and in commands, without creating, migrating or reviving one.

MLflow's database stores create missing tables and migrate old ones when they are constructed, and its folder stores
create folders.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoinstrument.guard import is_own_call, own_calls
from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.client import use_artifact_root
from autoinstrument.mlflow_store.store_errors import NoStoreError, StoreNotThereError
from autoinstrument.mlflow_store.urls import absolute, local_store
from autoinstrument.scrubber import without_credentials

TRACKING, REGISTRY = "tracking store", "model registry"
"""The kinds of stores, as messages name them."""


class _WouldBeChangedError(Exception):
    """MLflow is about to create or migrate tables for the agent."""


@functools.lru_cache(maxsize=8)
def opened(client_class: Callable[..., Any], *uris: str) -> Any:
    """Return the store at `uris[0]`, opened by a client of MLflow's; the last stores are kept.

    Raises:
        StoreNotThereError: MLflow would have to create or migrate it.
        mlflow.exceptions.MlflowException: it does not answer.
    """
    with own_calls():
        if "sql" in uris[0].split(":")[0]:
            require_tables(uris[0])
            internals.wrap_migrations(_unless_own_call)
        use_artifact_root()
        try:
            return client_class(*uris).store
        except _WouldBeChangedError:
            shown = without_credentials(uris[0])
            raise StoreNotThereError(f"{shown} lacks tables of this MLflow; nothing was changed") from None


def _unless_own_call(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if is_own_call():
        if internals.changes_nothing(args):  # MLflow 3.0 and 3.1 migrate whenever they open a database
            return None
        raise _WouldBeChangedError
    return wrapped(*args, **kwargs)


def require_tables(tracking_uri: str) -> None:
    """Raise an error if a database lacks tables that MLflow would create.

    Raises:
        NoStoreError: it does.
        sqlalchemy.exc.SQLAlchemyError: the database server does not answer.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(absolute(tracking_uri))
    try:
        if "experiments" not in sqlalchemy.inspect(engine).get_table_names():
            raise NoStoreError(tracking_uri, "has no tables of MLflow")
        if not internals.tables_are_current(engine):
            remedy = "back it up, then run `mlflow db upgrade` on it"
            raise NoStoreError(tracking_uri, "is of an older MLflow", remedy, is_new=False)
    finally:
        engine.dispose()


def check_exists(kind: str, uri: str, *, for_training: bool) -> None:
    """Raise an error if a store on this machine is missing: SQLite would create a file, MLflow a folder.

    Args:
        kind: `TRACKING` or `REGISTRY`.
        uri: address of the store. A store elsewhere is not looked for.
        for_training: the training has opened the store, so that a remedy for a person makes no sense.

    Raises:
        StoreNotThereError: it is missing.
    """
    path = local_store(uri)
    if path is None or _holds_store(kind, path):
        return
    if kind == TRACKING and not for_training:
        raise NoStoreError(uri, "has no experiments" if path.is_dir() else "does not exist")
    raise StoreNotThereError(f"there is no {kind} at {without_credentials(absolute(uri))}")


def _holds_store(kind: str, path: Path) -> bool:
    try:
        if not path.is_dir():
            return path.stat().st_size > 0
        if kind == REGISTRY:
            return (path / "models").is_dir()
        return (path / ".trash").is_dir() or any(path.glob("*/meta.yaml"))
    except OSError:
        return False
