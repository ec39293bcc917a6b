"""An executor whose threads do not keep the process: a follower that is told to end does not wait for a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class DaemonThreads(Executor):
    """Runs calls on a fixed number of daemon threads, which start with the first call."""

    def __init__(self, count: int) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._left = count

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand over a call; it has no keyword arguments."""
        if kwargs:
            raise TypeError("a job has no keyword arguments")
        future: Future[Any] = Future()
        self._jobs.put((future, fn, args))
        if self._left:
            self._left -= 1
            threading.Thread(target=self._serve, name="autoinstrument-follow", daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            future, fn, args = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(fn(*args))
            except Exception as error:  # it is the submitting thread's to handle
                future.set_exception(error)
