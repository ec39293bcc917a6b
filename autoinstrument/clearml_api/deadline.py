"""Do work that may hang, with a time limit."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

_Results = queue.SimpleQueue[tuple[Any, "Exception | None"]]
_Work = queue.SimpleQueue["tuple[Callable[[], Any], _Results] | None"]


class OverdueError(Exception):
    """Work did not end in time, and may still go on, or could not be started; the text says which."""


class Deadline:
    """Does one piece of work after the other on its own thread; a piece that hangs is left behind with the thread.

    The thread is kept for the next piece: from Python 3.12 on no thread can be started while the interpreter shuts
    down, which is when a worker that is a thread of the training process has most to send.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: _Work | None = None

    def do(
        self,
        work: Callable[[], Any],
        limit_s: float,
        *,
        tick_s: float = 3600.0,
        tick: Callable[[], None] = lambda: None,
    ) -> Any:
        """Return the result of `work`.

        Args:
            work: runs on the other thread.
            limit_s: time limit, in seconds.
            tick_s: seconds between calls of `tick`.
            tick: called on the caller's thread meanwhile.

        Raises:
            OverdueError: the work took too long, or no thread can be started any more.
            Exception: whatever `work` raised.
        """
        results: _Results = queue.SimpleQueue()
        self._begin().put((work, results))
        end = time.monotonic() + limit_s
        while True:
            try:
                result, error = results.get(timeout=max(0.0, min(tick_s, end - time.monotonic())))
            except queue.Empty:
                tick()
                if time.monotonic() >= end:
                    self._leave()
                    raise OverdueError(f"no answer within {limit_s:.0f} s") from None
                continue
            if error is not None:
                raise error
            return result

    def _begin(self) -> _Work:
        if self._work is None:
            work: _Work = queue.SimpleQueue()
            try:
                threading.Thread(target=_serve, args=(work,), name=self._name, daemon=True).start()
            except RuntimeError as error:
                raise OverdueError("not begun, because the process is ending") from error
            self._work = work
            weakref.finalize(self, work.put, None).atexit = False
        return self._work

    def _leave(self) -> None:
        if self._work is not None:
            self._work.put(None)  # ends the thread, if the work ever ends
            self._work = None


def _serve(work: _Work) -> None:
    while (piece := work.get()) is not None:
        work_of_piece, results = piece
        try:
            results.put((work_of_piece(), None))
        except Exception as error:  # raised on the caller's thread
            results.put((None, error))
        del piece, work_of_piece, results
