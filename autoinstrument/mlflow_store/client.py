"""How our threads talk to MLflow's store: under a lock that no fork cuts in two.

SQLite keeps account of its file locks in process memory: a child that is forked while one of our threads is inside a
transaction inherits a lock that nobody releases, and its own calls fail with "database is locked" (seen with mlflow
3.17 on sqlite).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from importlib import import_module

from autoinstrument.guard import ourselves

_LOCAL_S, _REMOTE_S = 5.0, 0.05
"""How long a fork waits for a thread of ours that is inside a transaction of SQLite's, and for one that asks a server:
that one holds locks of Python's for moments alone, and else waits for an answer that may never come."""
_lock = threading.RLock()
_wait_s = 0.0
"""That of the thread that holds the lock."""
_artifact_root = ""
"""The folder that a worker gives MLflow instead of `./mlruns`."""


@contextlib.contextmanager
def store_access(tracking_uri: str) -> Iterator[None]:
    """Hold the lock in which a thread of ours talks to a tracking store, or to the model registry beside it."""
    global _wait_s
    with _lock:
        before, _wait_s = _wait_s, max(_wait_s, _LOCAL_S if tracking_uri.startswith("sqlite") else _REMOTE_S)
        try:
            with ourselves():
                yield
        finally:
            _wait_s = before


def try_briefly() -> None:
    """Have MLflow's client try twice in this process, which is no training: 7 times take minutes (2.16 to 3.17)."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def give_up_soon(folder: str) -> None:
    """Have MLflow's client fail within a minute, and make no folders: for a worker, which is a process of its own.

    Opening a database makes the folder `./mlruns` (mlflow 2.16), and the worker's working directory is `/`; `folder`,
    which exists, takes its place.
    """
    global _artifact_root
    _artifact_root = folder
    for name, most in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", 1), ("MLFLOW_HTTP_REQUEST_TIMEOUT", 20)):
        given = os.environ.get(name, "")
        os.environ[name] = str(min(int(given), most) if given.isdecimal() else most)


def keep_folders_away() -> None:
    """Put `give_up_soon`'s folder in the place of `./mlruns`; called wherever a store is opened."""
    if _artifact_root:
        from mlflow.tracking._tracking_service import utils  # the name's place in mlflow 2.16 to 3.17

        utils.DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH = _artifact_root


def load_client(tracking_uri: str) -> None:
    """Import what a client of a tracking store needs, without opening the store.

    MLflow imports the classes of its stores when the first one is opened (mlflow 2.16 to 3.17).
    """
    import_module("mlflow.tracking")
    if tracking_uri.startswith(("http:", "https:")):
        import_module("mlflow.store.tracking.rest_store")
    elif tracking_uri.startswith(("sqlite", "postgresql", "mysql", "mssql")):
        import_module("mlflow.store.tracking.sqlalchemy_store")


def _before() -> None:
    global _held
    _held = _lock.acquire(blocking=False) or _lock.acquire(timeout=_wait_s)


def _in_parent() -> None:
    if _held:
        _lock.release()


def _in_child() -> None:
    global _lock, _wait_s
    _lock, _wait_s = threading.RLock(), 0.0


_held = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
