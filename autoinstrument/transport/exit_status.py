"""Learn the exit code of the training process without touching `sys.exit`, `sys.excepthook` or a signal.

A script that ends in `sys.exit(3)` or `raise SystemExit(3)` leaves no trace in Python: the interpreter turns the
exception into a number, drops it, runs the at-exit handlers and calls C's `exit(3)`. glibc hands that number to
functions that were registered with `on_exit(function, argument)`. The function registered here is glibc's own
`putw(number, stream)`, and the stream is a memory page shared with the worker: no code of the agent runs when the
interpreter is gone, and no file descriptor is used. Without glibc (musl, macOS, Windows) the code stays unknown, and
MLflow's status stands.

Measured: death by a signal or `os._exit` calls no `on_exit` function (glibc 2.36, Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import sys
from pathlib import Path

_UNKNOWN = 0x7FFF_FFFF
_NAME = "exit-code-"
_PAGE = mmap.PAGESIZE
_NEEDED = ("on_exit", "putw", "fmemopen")
_MAP_FIXED, _UNBUFFERED = 0x10, 2
"""`MAP_FIXED` of `mmap`, and `_IONBF` of `setvbuf`: written at once."""


_watched: tuple[str, int] | None = None
"""Path and inode of the file that has this process's exit code in the end."""


def watch(folder: Path) -> bool:
    """Arrange for the exit code of this process to be written into the folder; nothing is done if it already will be.

    Returns:
        False where the C library has no way to do so.

    Raises:
        OSError: the folder is gone.
    """
    global _watched
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not all(hasattr(libc, name) for name in _NEEDED):
        return False
    path = folder / f"{_NAME}{os.getpid()}"
    if _watched is not None and _watched == (str(path), _inode(path)):  # the worker before this one had the same folder
        return True
    path.write_bytes(struct.pack("=i", _UNKNOWN) + bytes(_PAGE - 4))
    libc.mmap.restype = libc.fmemopen.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *([ctypes.c_int] * 3), ctypes.c_long]
    libc.fmemopen.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
    libc.on_exit.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        page = libc.mmap(None, _PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file, 0)
    finally:
        os.close(file)
    if page is None or page == ctypes.c_void_p(-1).value:
        return False
    stream = libc.fmemopen(page, 8, b"r+")  # "r+": opening must not write
    if not stream:
        return False
    libc.setvbuf(stream, None, _UNBUFFERED, 0)
    if libc.on_exit(ctypes.cast(libc.putw, ctypes.c_void_p), stream) != 0:
        return False

    def forked() -> None:
        # The child must not write its own exit code: its copy of the page becomes private.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        libc.mmap(page, _PAGE, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)

    os.register_at_fork(after_in_child=forked)
    _watched = str(path), _inode(path)
    return True


def take(folder: Path, pid: int) -> int | None:
    """Return the exit code of a process that is gone, and remove its file.

    Returns:
        The code as the shell would show it (0 to 255), None where it cannot be known.
    """
    path = folder / f"{_NAME}{pid}"
    try:
        (code,) = struct.unpack_from("=i", path.read_bytes())
    except (OSError, struct.error):
        code = _UNKNOWN
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return None if code == _UNKNOWN else int(code) & 0xFF


def is_left_over(name: str) -> bool:
    """Return True if a file of this name was for the exit code of a process that is gone."""
    pid = name.removeprefix(_NAME)
    if sys.platform == "win32" or pid == name or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's process has the number now, or nobody may ask
        pass
    return False


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
