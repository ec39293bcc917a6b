"""The locks, one a store, under which the agent's threads talk to MLflow, so that no fork cuts such a call in two.

SQLite keeps account of its file locks in process memory: a child that is forked while another thread is inside a
transaction inherits a lock that nobody releases, and its own calls fail with "database is locked" (seen with mlflow
3.17 on sqlite).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from autoinstrument.guard import own_calls
from autoinstrument.mlflow_store.workspaces import in_workspace

_LOCAL_S, _REMOTE_S = 5.0, 0.05
"""How long a fork waits, in seconds, for a thread that is inside a transaction of SQLite's, and for one that calls a
server. The latter holds Python's locks for moments only, and may wait for an answer that never comes."""


_END_S = 1.0
"""How long the end of the process waits for all of them, in seconds, at most."""


class _Store:
    """The lock of one store.

    Attributes:
        wait_s: how long a fork, or the end of the process, waits for the thread that holds it.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.lock = threading.RLock()
        self.wait_s = _LOCAL_S if tracking_uri.startswith("sqlite") else _REMOTE_S


_stores: dict[str, _Store] = {}
_held: list[_Store] = []
_closed: list[_Store] = []


@contextlib.contextmanager
def store_access(tracking_uri: str, workspace: str) -> Iterator[None]:
    """Hold a store's lock while a thread of the agent talks to it, or to the model registry beside it.

    The calls work in `workspace`, see `in_workspace`.
    """
    store = _stores.get(tracking_uri) or _stores.setdefault(tracking_uri, _Store(tracking_uri))
    with store.lock, own_calls(), in_workspace(workspace):
        yield


def close() -> None:
    """Let no other thread begin a call to a store, and let calls to databases that are under way come to their end.

    For the end of the process: from then on finalizers take apart what such a call uses. One of SQLAlchemy's would roll
    a transaction back, whose thread goes on as if it had been committed (SQLAlchemy 2.0 and 2.1). The threads are
    daemons, and wait until the process is gone.
    """
    end = time.monotonic() + _END_S
    for store in list(_stores.values()):
        if store.lock.acquire(timeout=max(0.0, min(store.wait_s, end - time.monotonic()))):
            _closed.append(store)


def reopen() -> None:
    """Let the threads go on; called by the thread that has called `close`."""
    while _closed:
        _closed.pop().lock.release()


def _before_fork() -> None:
    for store in list(_stores.values()):
        if store.lock.acquire(blocking=False) or store.lock.acquire(timeout=store.wait_s):
            _held.append(store)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().lock.release()


def _after_fork_in_child() -> None:
    _held.clear()
    _closed.clear()
    _stores.clear()


if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
