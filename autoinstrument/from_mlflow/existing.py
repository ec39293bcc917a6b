"""Check that a tracking store exists before it is opened: MLflow's constructors create and migrate what is missing.

That is true of a folder, of SQLite, and of a schema on a database server (MLflow 2.16 to 3.17). A command that only
reads must leave neither an empty `mlflow.db` in the working directory nor a migrated database behind.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from autoinstrument.capture.secrets import without_credentials
from autoinstrument.from_mlflow.addresses import absolute, local_store

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_VARIABLE = "MLFLOW_TRACKING_URI"


class NoStoreError(Exception):
    """MLflow would create or migrate a store if it opened it; the text is one line for a person, with the remedy.

    Attributes:
        problem: what is wrong with the store, without its address.
        remedy: what to do, in the imperative.
        is_new: the store does not exist yet; False for one of an older MLflow.
    """

    def __init__(self, tracking_uri: str, problem: str, remedy: str = "", *, is_new: bool = True) -> None:
        self.problem, self.is_new = problem, is_new
        self.remedy = remedy or f"{'check' if os.environ.get(_VARIABLE) else 'set'} {_VARIABLE}"
        super().__init__(f"MLflow store {shown(tracking_uri)} {problem}: {self.remedy}")


def shown(tracking_uri: str) -> str:
    """Return a store's address for a person, without credentials; MLflow's own choice is named as such."""
    address = without_credentials(absolute(tracking_uri))
    return address if os.environ.get(_VARIABLE) else f"{address} (MLflow's default: {_VARIABLE} is not set)"


def require_store(tracking_uri: str) -> None:
    """Raise if MLflow would create or migrate a store that it opens; a tracking server is not asked.

    Raises:
        NoStoreError: it would.
        sqlalchemy.exc.SQLAlchemyError: the database server does not answer.
    """
    path = local_store(tracking_uri)
    if path is not None and not path.exists():
        raise NoStoreError(tracking_uri, "does not exist")
    if urlsplit(tracking_uri).scheme.partition("+")[0] in _DATABASES:
        _require_tables(tracking_uri)
    elif path is not None and not any(path.glob("*/meta.yaml")):
        raise NoStoreError(tracking_uri, "has no experiments")


def _require_tables(tracking_uri: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(absolute(tracking_uri))
    try:
        if "experiments" not in sqlalchemy.inspect(engine).get_table_names():
            raise NoStoreError(tracking_uri, "has no tables of MLflow")
        try:
            from mlflow.store.db.utils import _all_tables_exist  # private, seen in MLflow 2.16 to 3.17
        except ImportError:
            return
        if not _all_tables_exist(engine):
            remedy = "back it up, then run `mlflow db upgrade` on it"
            raise NoStoreError(tracking_uri, "is of an older MLflow", remedy, is_new=False)
    finally:
        engine.dispose()
