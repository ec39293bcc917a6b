"""One heap of the C library for all threads of a follower, whose memory would otherwise grow for days.

glibc gives each thread a heap ("arena") of its own, up to eight for each core. SQLite's page cache frees its memory
after a transaction, but only threads of the same heap can use that memory again, and the process keeps every page that
still holds anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_M_ARENA_MAX = -8
"""Of glibc's `malloc.h`; its documentation is `mallopt(3)`."""


def share_heap() -> None:
    """Let threads that begin later use the heap of this one; do nothing on other systems, or if a variable decides."""
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # musl has no such function
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
