"""How our threads talk to MLflow's store: with a client that imports nothing, under a lock that no fork cuts in two.

SQLite keeps account of its file locks in process memory: a child that is forked while one of our threads is inside a
transaction inherits a lock that nobody releases, and its own calls fail with "database is locked" (seen with mlflow
3.17 on sqlite).
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

_WAIT_S = 5.0
_lock = threading.RLock()


def store_access() -> AbstractContextManager[bool]:
    """Return the lock that a thread of ours holds while it talks to a tracking store."""
    return _lock


def tracking_client(tracking_uri: str) -> Any:
    """Return MLflow's client of a tracking store; making one imports nothing that the process has not loaded.

    `MlflowClient` looks for Spark each time, and an import on a thread of ours while the training thread is inside one
    of MLflow's import hooks hangs both: they take Python's import lock and MLflow's in different orders (mlflow 3.17).
    """
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    return TrackingServiceClient(tracking_uri)


def _before() -> None:
    global _held
    _held = _lock.acquire(timeout=_WAIT_S)


def _in_parent() -> None:
    if _held:
        _lock.release()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()


_held = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
