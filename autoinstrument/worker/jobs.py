"""Work that waits for servers, files and Git, beside the worker's loop, on a bounded number of threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from autoinstrument.guard import guard, own_calls

Job = Callable[[], object]
Aside = Callable[[Callable[[], Any], Callable[[Any], object]], None]
"""Does work on another thread, and calls the second function with its result on the thread of the worker's loop. The
work must not raise an exception; a result of None says that there is none."""

_THREADS, _LONG = 8, 6
"""All threads, and those of them that may do long jobs. The others make Tasks and send events: a new run's link and its
curves are looked at while files of other runs are uploaded."""
_CAPTURES = 4


class Jobs:
    """Threads that are started when they are needed, and wait for more work then.

    They are daemons: a worker that is a thread of the training process must not keep it from ending.

    Args:
        threads: their number at most.
        long: how many of them do long jobs at the same time at most.

    Attributes:
        once: held by a job while it computes what others would compute too, and find in a cache then.
    """

    def __init__(self, threads: int = _THREADS, long: int = _LONG) -> None:
        self._most, self._most_long = threads, long
        self.once = threading.Lock()
        self._changed = threading.Condition()
        self._short: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._threads = self._idle = self._long_under_way = 0

    def submit(self, job: Job, *, is_short: bool = False) -> None:
        """Do a job on a thread; errors are logged.

        From Python 3.12 on no thread can be started while the interpreter shuts down. Where there is none, the job is
        done on the caller's.

        Args:
            job: the work.
            is_short: it takes a few requests and no files; it does not wait for long jobs.
        """
        with self._changed:
            (self._short if is_short else self._long).append(job)
            self._changed.notify()
            if self._idle >= len(self._short) + len(self._long) or self._threads >= self._most:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="autoinstrument-job", daemon=True).start()
        except RuntimeError:
            with self._changed:
                self._threads -= 1
                has_none = not self._threads
            if has_none:
                self._do_all_here()

    def _work(self) -> None:
        with own_calls():
            while True:
                with self._changed:
                    self._idle += 1
                    self._changed.wait_for(self._may_begin)
                    self._idle -= 1
                    job, is_long = self._next()
                self._do(job)
                if is_long:
                    with self._changed:
                        self._long_under_way -= 1
                        self._changed.notify()
                del job  # it may hold a run that is complete by now

    def _may_begin(self) -> bool:
        return bool(self._short or (self._long and self._long_under_way < self._most_long))

    def _next(self) -> tuple[Job, bool]:
        if self._short:
            return self._short.popleft(), False
        self._long_under_way += 1
        return self._long.popleft(), True

    def _do_all_here(self) -> None:
        while self._short or self._long:
            self._do((self._short or self._long).popleft())

    def _do(self, job: Job) -> None:
        with guard("working beside the worker's loop"):
            job()


def for_captures() -> Jobs:
    """Return the threads on which code and packages are captured: Git may take a minute, and keeps no run waiting."""
    return Jobs(_CAPTURES, _CAPTURES)
