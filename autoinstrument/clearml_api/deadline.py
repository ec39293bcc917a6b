"""Work that may hang, with a limit in time."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

_Answers = queue.SimpleQueue[tuple[Any, "Exception | None"]]
_Work = queue.SimpleQueue["tuple[Callable[[], Any], _Answers] | None"]


class OverdueError(Exception):
    """A piece of work was not done in time, and may go on, or could not be begun; the text says which."""


class Deadline:
    """Does one piece of work after the other on a thread of its own; one that hangs is left behind with the thread.

    The thread is kept for the next piece: from Python 3.12 on no thread can be started while the interpreter shuts
    down, which is when a worker that is a thread of the training process has most to send.
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
        """Return what `work` returns, and call `tick` each `tick_s` seconds meanwhile, on the caller's thread.

        Raises:
            OverdueError: it took more than `limit_s` seconds, or no thread can be started any more.
            Exception: what `work` raised.
        """
        answers: _Answers = queue.SimpleQueue()
        self._begin().put((work, answers))
        end = time.monotonic() + limit_s
        while True:
            try:
                answer, error = answers.get(timeout=max(0.0, min(tick_s, end - time.monotonic())))
            except queue.Empty:
                tick()
                if time.monotonic() >= end:
                    self._leave()
                    raise OverdueError(f"no answer within {limit_s:.0f} s") from None
                continue
            if error is not None:
                raise error
            return answer

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
            self._work.put(None)  # if it ever comes back
            self._work = None


def _serve(work: _Work) -> None:
    while (piece := work.get()) is not None:
        do, answers = piece
        try:
            answers.put((do(), None))
        except Exception as error:  # raised where the caller is
            answers.put((None, error))
        del piece, do, answers
