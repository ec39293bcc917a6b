"""Find the start-up files of this package, and make Python run them where none is installed."""

from __future__ import annotations

import os
import site
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_NAMES = ("autoinstrument-init.pth", "autoinstrument-init.start")


def site_folders() -> list[Path]:
    """Return the folders whose .pth files an interpreter of this environment reads."""
    folders = list(site.getsitepackages())
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [Path(folder) for folder in folders]


def are_installed() -> bool:
    """Return True if an interpreter of this environment finds a start-up file of this package in its site-packages."""
    return any((folder / name).is_file() for folder in site_folders() for name in _NAMES)


def hook_folder() -> Path:
    """Return the folder of this package's `sitecustomize.py`, for PYTHONPATH where there is no start-up file."""
    shipped = _PACKAGE / "startup" / "sitecustomize"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "sitecustomize_template"  # in a checkout


def python_path(given: str) -> str:
    """Return a PYTHONPATH with which the agent starts in an environment that has no start-up file.

    It has the package's own folder too, where Python would not find the package otherwise.

    Args:
        given: the PYTHONPATH so far, "" for none.
    """
    home = _PACKAGE.parent
    entries = [str(hook_folder())]
    if home not in [*site_folders(), *map(Path, filter(None, given.split(os.pathsep)))]:
        entries.append(str(home))
    return os.pathsep.join([*entries, *([given] if given else [])])
