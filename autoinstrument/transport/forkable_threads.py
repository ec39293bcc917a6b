"""The agent's daemon threads in the training process, which a fork stops and the parent starts again."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import BuiltinFunctionType

PREFIX = "autoinstrument-"
"""Prefix of the names of all threads of the agent."""


class ThreadStopsError(Exception):
    """The thread must return now, so that the process can fork; it is run again, and begins this work anew."""


class ForkableThreads:
    """Threads that run loops, and can stop in the middle: a loop that is started again goes on where it was.

    A loop calls `stops` with its own name wherever it can stop, and returns if that is True. The threads are daemons,
    and keep no process from ending.

    Args:
        loops: the threads' work by name, in the order in which the threads are started.

    Attributes:
        stopped: names of the threads that have stopped for a fork, and were not started again.
    """

    def __init__(self, loops: Mapping[str, Callable[[], None]]) -> None:
        self._loops = dict(loops)
        self._threads: dict[str, threading.Thread] = {}
        self.stopped: set[str] = set()
        self._stopping = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: the system or the interpreter, at its end, starts no more threads; some may have started.
        """
        with self._lock:
            for name in self._loops:
                self._run(name)

    def is_started(self, name: str) -> bool:
        """Return True if the thread was started once, whether or not it runs at the moment."""
        return name in self._threads

    def running(self) -> list[threading.Thread]:
        """Return the threads that have not stopped."""
        return [thread for name, thread in list(self._threads.items()) if name not in self.stopped]

    def stop(self) -> None:
        """Make `stops` return True; the caller makes sure that the loops call it."""
        self._stopping = True

    def stops(self, name: str) -> bool:
        """Return True if the loop must return now; it is started again by `resume`."""
        stopping = self._stopping  # read once: `resume` may change it at any moment
        if stopping:
            self.stopped.add(name)
        return stopping

    def resume(self) -> None:
        """Start the threads again that have stopped.

        Waits for no lock, because the thread that holds it may wait for the caller: then this changes nothing, and a
        later call starts the threads.
        """
        self._stopping = False
        if not self._lock.acquire(blocking=False):
            return
        try:
            for name in self._loops:
                if name in self.stopped:
                    self._run(name)
                    self.stopped.discard(name)
        except RuntimeError:  # the interpreter is at its end; the worker will see the connection close
            pass
        finally:
            self._lock.release()

    def _run(self, name: str) -> None:
        work = partial(_undisturbed, self._loops[name], threading.get_native_id())
        thread = _BackgroundThread(target=work, name=f"{PREFIX}{name}", daemon=True)
        thread.start()
        self._threads[name] = thread


class _BackgroundThread(threading.Thread):
    """A thread that lasts as long as the process, as a script sees it among `threading.enumerate()`."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for nothing: a script that joins all threads that it finds would wait forever.

        The agent's own code calls `threading.Thread.join`.
        """


def _undisturbed(loop: Callable[[], None], started_by: int) -> None:
    """Run a loop on a thread that takes no signal of the process, and that no tracer of the process sees.

    Where gevent or eventlet has replaced threads, the loop runs on the very thread that
    started it (by the system's number), which keeps its signals and its tracer.

    A script may block a signal to wait for it (`signal.sigwait`), or while it writes a checkpoint. The system would
    give the signal to a thread that does not block it, and the signal's action would come at once.

    `python -m trace` traces all threads, and fails if one still runs while it writes its results (Python 3.11:
    "dictionary changed size during iteration"). A debugger may have replaced `sys.settrace`: pydevd prints a warning
    if it is called.
    """
    if threading.get_native_id() != started_by:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if isinstance(sys.settrace, BuiltinFunctionType):
            sys.settrace(None)
    loop()
