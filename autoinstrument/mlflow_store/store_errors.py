"""Say why a store is not opened, and what to do: MLflow would create or migrate it."""

from __future__ import annotations

import os

from autoinstrument.mlflow_store.urls import absolute
from autoinstrument.scrubber import without_credentials

_VARIABLE = "MLFLOW_TRACKING_URI"


class StoreNotThereError(Exception):
    """A store was never made, is gone, or was not opened by the training; the text is one line for a person."""


class NoStoreError(StoreNotThereError):
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


def require_tables(tracking_uri: str) -> None:
    """Raise if a database lacks tables that MLflow would make.

    Raises:
        NoStoreError: it does.
        sqlalchemy.exc.SQLAlchemyError: the database server does not answer.
    """
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
