"""The folder of journals and logs: where it is, that only its user can read it, and whether it can be trusted."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from autoinstrument.settings import Settings


def home(settings: Settings) -> Path:
    """Return the folder of journals and state, which need not exist.

    In a container the user often has no home folder, or one that cannot be written: then it is a folder in the
    temporary folder.
    """
    if settings.home:
        return _expanded(settings.home).absolute()  # also after the script has changed the working directory
    folder = _state_folder() / "autoinstrument"
    if sys.platform == "win32":
        return folder
    if folder.is_absolute() and os.access(nearest(folder), os.W_OK):
        return folder
    with contextlib.suppress(FileNotFoundError):  # no temporary folder can be written either: nothing is kept
        substitute = Path(tempfile.gettempdir()) / f"autoinstrument-state-{os.getuid()}"
        if _is_usable(substitute):
            return substitute
    return folder


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest folder above it that exists."""
    return next(path for path in (folder, *folder.parents) if exists(path))


def exists(path: Path) -> bool:
    """Return True if a path exists, as far as this user may see it.

    Before Python 3.14, `Path.exists` raises below a folder that may not be searched, as another user's folder of state.
    """
    return os.path.exists(path)  # noqa: PTH110


def private_folder(folder: Path, *, home: Path) -> None:
    """Make a folder and the missing ones above it, readable by the user alone (0700).

    Args:
        folder: `home` itself or one below it.
        home: the first folder that must be the user's.

    Raises:
        OSError: it cannot be made, or one of them belongs to another user or is a link.
    """
    for path in (*reversed(folder.parents), folder):
        is_inside = path == home or home in path.parents
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
        if is_inside and distrusted(path):
            raise PermissionError(f"{path} {distrusted(path)}; nothing is kept there (AUTOINSTRUMENT_HOME)")
        if is_inside and path != home and path.stat().st_mode & 0o077:
            path.chmod(0o700)


def distrusted(folder: Path) -> str:
    """Return why a folder of state must not be used, "" if it may be."""
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not _is_mine(found):
        return "belongs to another user"
    return ""


def is_trusted(folder: Path) -> bool:
    """Return True if a folder of state may be used; it may be removed at any time, and then it may not."""
    try:
        return not distrusted(folder)
    except FileNotFoundError:
        return False


def _state_folder() -> Path:
    """Return where the platform keeps a user's state.

    The training process calls this, where a `platformdirs.py` beside the script would be taken for that library.
    """
    if sys.platform == "win32":
        return _expanded(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    if sys.platform == "darwin":
        return _expanded("~/Library/Application Support")
    given = os.environ.get("XDG_STATE_HOME", "").strip()
    return _expanded(given if os.path.isabs(given) else "~/.local/state")  # noqa: PTH117


def _expanded(folder: str) -> Path:
    """Return the folder with its "~" replaced, or as it is if neither HOME nor the password file has an entry."""
    return Path(os.path.expanduser(folder))  # noqa: PTH111  (Path's raises there)


def _is_usable(folder: Path) -> bool:
    """Return True if a folder, beside which other users may write, is this user's own or does not exist yet."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(found.st_mode) and _is_mine(found)


def _is_mine(found: os.stat_result) -> bool:
    if sys.platform == "win32":  # access goes by lists there, and user state lies below the user's profile
        return True
    return found.st_uid == os.getuid()
