"""Let the process fork as if the agent had no threads.

From Python 3.12 on, `os.fork` warns in a process with several threads. Python counts the threads after all fork
handlers have run (3.12.1, 3.13.0), so no handler can start them again. A pending call does: the interpreter makes it on
the main thread as soon as it goes on with the program.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from autoinstrument.guard import guard

WANTED = sys.version_info >= (3, 12) and sys.platform != "win32"

_WAIT_S, _WORK_S = 0.1, 2.0
"""Seconds that a fork waits for threads that wait for something themselves, such as a server, and may not stop at all;
and for threads that work, which get to their next stop late on a busy machine."""
_LOOK_S, _MOMENT_S = 0.002, 0.0001
"""Pauses between two looks at threads: that go on, and that only the operating system has not ended yet."""
_TASKS = "/proc/self/task"
_calls: list[Any] = []
"""Functions that C code calls, kept from being collected."""


def without_threads(stop: Callable[[], list[Thread]], start: Callable[[], None]) -> None:
    """Stop threads before each fork, and start them again after it in the parent.

    Args:
        stop: asks the threads to end, and returns them.
        start: starts the threads that have ended; called on the main thread between any two instructions of the
            program, so it must wait for no lock. Without ctypes it is not called.
    """

    def before() -> None:
        with guard("stopping for a fork"):
            _wait_for(stop())

    if sys.platform == "win32":
        return
    os.register_at_fork(before=before)
    try:
        import ctypes
    except ImportError:
        return

    def again(_: Any) -> int:
        with guard("going on after a fork"):
            start()
        return 0

    call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(again)
    _calls.append(call)
    # The handler is no Python code, which the pending call would interrupt at once: the threads would be counted.
    os.register_at_fork(after_in_parent=partial(ctypes.pythonapi.Py_AddPendingCall, call, None))


def _wait_for(threads: list[Thread]) -> None:
    now = worked_at = time.monotonic()
    last = now + _WORK_S
    while now < min(worked_at + _WAIT_S, last) and (left := _left(threads)):
        if left[0].is_alive():
            Thread.join(left[0], _LOOK_S)  # its own `join` waits for nothing
        else:
            time.sleep(_MOMENT_S)
        now = time.monotonic()
        if any(map(_works, left)):
            worked_at = now


def _left(threads: list[Thread]) -> list[Thread]:
    """Return the threads that are still there.

    Python 3.12 counts the operating system's threads, which end a moment after Python's.
    """
    return [thread for thread in threads if thread.is_alive() or os.path.exists(f"{_TASKS}/{thread.native_id}")]  # noqa: PTH110


def _works(thread: Thread) -> bool:
    """Return True if a thread runs, or would if it had a processor; False where there is no `/proc`."""
    try:
        with open(f"{_TASKS}/{thread.native_id}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b") ")[2][:1] in (b"R", b"D")
    except OSError:
        return False
