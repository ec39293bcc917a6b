"""An empty MLflow store, which tests copy.

MLflow is loaded when the store is asked for: the process that hands out the tests loads this module, too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """An empty MLflow store, to be copied. None for `mlflow-skinny`.

    MLflow takes 2 s to make one, so pytest's cache keeps it, by MLflow's version.
    """
    try:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from mlflow.version import VERSION
    except ModuleNotFoundError:  # sqlalchemy
        from tests.end_to_end.harness import FILE_STORE

        os.environ.update(FILE_STORE)
        return None

    kept = pytestconfig.cache.mkdir("mlflow-store") / f"{VERSION}.db"
    made = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    if kept.exists():
        shutil.copy(kept, made)
        with contextlib.closing(sqlite3.connect(made)) as connection, connection:
            location = str(made.parent / "artifacts" / "0")
            connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", [location])
    else:
        SqlAlchemyStore(f"sqlite:///{made}", str(made.parent / "artifacts")).engine.dispose()
        partial = kept.with_name(f"{VERSION}.{os.getpid()}")
        shutil.copy(made, partial)
        partial.replace(kept)  # several processes may make it at the same time
    return made
