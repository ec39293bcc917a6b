"""One heap of the C library for all threads of a follower, whose memory would else grow for days.

glibc gives a thread a heap ("arena") of its own, eight for each core at most. What SQLite's page cache took in one of
them is free after the transaction, but only for threads of the same heap, and pages in which anything is still in use
stay with the process.
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
