"""The lock under which the agent's threads talk to MLflow's stores, so that no fork cuts such a call in two.

SQLite keeps account of its file locks in process memory: a child that is forked while another thread is inside a
transaction inherits a lock that nobody releases, and its own calls fail with "database is locked" (seen with mlflow
3.17 on sqlite).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from autoinstrument.guard import ourselves

_LOCAL_S, _REMOTE_S = 5.0, 0.05
"""How long a fork waits, in seconds, for a thread that is inside a transaction of SQLite's, and for one that calls a
server. The latter holds Python's locks for moments only, and may wait for an answer that never comes."""
_lock = threading.RLock()
_wait_s = 0.0
"""The wait for the thread that holds the lock."""


@contextlib.contextmanager
def store_access(tracking_uri: str) -> Iterator[None]:
    """Hold the lock while a thread of the agent talks to a tracking store, or to the model registry beside it."""
    global _wait_s
    with _lock:
        before, _wait_s = _wait_s, max(_wait_s, _LOCAL_S if tracking_uri.startswith("sqlite") else _REMOTE_S)
        try:
            with ourselves():
                yield
        finally:
            _wait_s = before


def _before_fork() -> None:
    global _held
    _held = _lock.acquire(blocking=False) or _lock.acquire(timeout=_wait_s)


def _after_fork_in_parent() -> None:
    if _held:
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock, _wait_s
    _lock, _wait_s = threading.RLock(), 0.0


_held = False
if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
