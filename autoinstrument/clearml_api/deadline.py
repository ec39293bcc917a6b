"""Do work that may hang, with a time limit."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

_Results = queue.SimpleQueue[tuple[Any, "Exception | None"]]
_Work = queue.SimpleQueue["tuple[Callable[[], Any], _Results] | None"]


class OverdueError(Exception):
    """Work did not end in time, and may still go on, or could not be started; the text says which."""


class Deadline:
    """Does work on a second thread for each thread that asks; work that hangs is left behind with its thread.

    The second thread is kept for the next piece of work: from Python 3.12 on no thread can be started while the
    interpreter shuts down, which is when a worker that is a thread of the training process has most to send.

    Args:
        name: name of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._of_caller = threading.local()

    def do(self, work: Callable[[], Any], limit_s: float) -> Any:
        """Return the result of `work`.

        Args:
            work: runs on the other thread.
            limit_s: time limit, in seconds.

        Raises:
            OverdueError: the work took too long, or no thread can be started any more.
            Exception: whatever `work` raised.
        """
        results: _Results = queue.SimpleQueue()
        self._begin().put((work, results))
        try:
            result, error = results.get(timeout=limit_s)
        except queue.Empty:
            self._leave()
            raise OverdueError(f"no answer within {limit_s:.0f} s") from None
        if error is not None:
            raise error
        return result

    def _begin(self) -> _Work:
        held: _Second | None = getattr(self._of_caller, "second", None)
        if held is None:
            held = _Second()
            try:
                threading.Thread(target=_serve, args=(held.work,), name=self._name, daemon=True).start()
            except RuntimeError as error:
                raise OverdueError("not begun, because the process is ending") from error
            self._of_caller.second = held
        return held.work

    def _leave(self) -> None:
        del self._of_caller.second  # its thread ends if the work ever ends


class _Second:
    """The way to a second thread, which ends when this object goes: with the deadline, or with the calling thread."""

    def __init__(self) -> None:
        self.work: _Work = queue.SimpleQueue()
        weakref.finalize(self, self.work.put, None).atexit = False


def _serve(work: _Work) -> None:
    while (piece := work.get()) is not None:
        work_of_piece, results = piece
        try:
            results.put((work_of_piece(), None))
        except Exception as error:  # raised on the caller's thread
            results.put((None, error))
        del piece, work_of_piece, results
