"""Replace a file as a whole: whoever reads it finds the old content or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    FLAGS = os.O_BINARY
else:
    FLAGS = os.O_NOFOLLOW
"""Flags of `os.open` for a file of this package: bytes stay as they are, and a link is refused where that can be."""


def write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file, or leave it as it was.

    Several processes may write the same file: each uses a unique temporary name.

    Args:
        path: the file; if it is a link, the link is replaced.
        content: all of it.
        mode: permissions of the file, before the umask.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS, mode)
        try:
            write_all(file, content)
        finally:
            os.close(file)
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(path)  # the name that the caller knows
        raise


def write_all(file: int, content: bytes) -> None:
    """Write all bytes to a descriptor; `os.write` writes some of them, without an error, if the disk is nearly full."""
    while content:
        content = content[os.write(file, content) :]


def remove(path: Path) -> None:
    """Remove a file, if it exists, and the temporary ones that killed writers have left beside it.

    Raises:
        OSError: one of them cannot be removed.
    """
    path.unlink(missing_ok=True)
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)
