"""Read Python files in zip archives (`python app.pyz`), under the paths that `zipimport` gives them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

ERRORS = (KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading raises, besides OSError: no such file, or the archive is encrypted, damaged or of another method."""


def archive_of(file: Path) -> Path | None:
    """Return the archive that a file is in (of `app.pyz/package/module.py`, `app.pyz`); None for other files."""
    found = next((parent for parent in file.parents if parent.exists()), None)
    return found if found is not None and is_archive(found) else None


def is_archive(file: Path) -> bool:
    """Return True for a program that is an archive."""
    return file.suffix != ".py" and file.is_file() and zipfile.is_zipfile(file)


def has_installed(archive: Path) -> bool:
    """Return True if packages were installed into an archive: its modules are not the user's own alone."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return any(name.partition("/")[0].endswith(".dist-info") for name in opened.namelist())
    except (OSError, *ERRORS):
        return False


def read_member(archive: Path, name: str, most: int) -> str:
    """Return the text of a file in an archive, at most so many bytes of it.

    Raises:
        OSError: the archive cannot be read.
        KeyError, RuntimeError, zipfile.BadZipFile, zlib.error: see `ERRORS`.
    """
    with zipfile.ZipFile(archive) as opened, opened.open(name) as member:
        return member.read(most).decode("utf-8", "replace")
