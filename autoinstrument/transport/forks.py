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

_WAIT_S = 0.1
"""Seconds that a fork waits for the threads: one that waits for a server may not stop at all."""
_calls: list[Any] = []
"""Functions that C code calls, kept from being collected."""


def without_threads(stop: Callable[[], list[Thread]], start: Callable[[], None]) -> None:
    """Have threads stop before each fork, and start again after it in the parent.

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
    end = time.monotonic() + _WAIT_S
    for thread in threads:
        Thread.join(thread, max(0.0, end - time.monotonic()))  # its own `join` waits for nothing
    # Python 3.12 counts the operating system's threads, which end a moment after Python's.
    left = [f"/proc/self/task/{thread.native_id}" for thread in threads]
    while any(map(os.path.exists, left)) and time.monotonic() < end:
        time.sleep(0.0001)
