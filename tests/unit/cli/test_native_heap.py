"""A follower's threads share one heap of the C library."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from autoinstrument.cli.native_heap import share_heap

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has several heaps"),
]

_SCRIPT = """
import ctypes, threading
from {module} import share_heap

if {shares}:
    share_heap()
together = threading.Barrier(5)

def allocate():
    content = bytes(100_000)  # Python itself asks the C library for more than 512 bytes
    together.wait()

for _ in range(4):
    threading.Thread(target=allocate).start()
together.wait()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def heaps(*, shares: bool, **environ: str) -> int:
    kept = {key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"}
    script = _SCRIPT.format(module=share_heap.__module__, shares=shares)
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}{script}"]
    done = subprocess.run(command, env={**kept, **environ}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.count("<heap nr=")


def test_threads_share_one_heap() -> None:
    assert heaps(shares=False) > 1
    assert heaps(shares=True) == 1


def test_a_variable_of_the_user_decides() -> None:
    assert heaps(shares=True, MALLOC_ARENA_MAX="2") == 2
