"""Choose the files of a project's folder that travel with its Task although no commit holds them.

A project names its files in shell commands, so that all of them may be needed. Hidden files (`.env`, `.git`), files
that running leaves behind, large files and those that are not text do not travel: a Task holds 500 kB of code.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from autoinstrument.capture.checkout import Checkout

_LARGEST, _MOST_BYTES, _MOST_FILES = 100_000, 300_000, 150
_MOST_SEEN = 10_000
"""Files of a folder without a repository that are looked at; it may be a person's home."""
_ENVIRONMENT = "pyvenv.cfg"
_PRODUCED = {"__pycache__", "mlruns", "mlartifacts", "node_modules", "mlflow.db"}


def untracked_files(checkout: Checkout, folder: Path, lacks: Callable[[str], object]) -> list[str]:
    """Return the files below a folder that are neither committed nor ignored, relative to the repository's root.

    Args:
        checkout: the working copy that holds the folder.
        folder: the project's folder.
        lacks: called with one line that names the files left out.

    Raises:
        GitError: Git does not answer.
    """
    inside = checkout.inside(folder)
    found = checkout.untracked("." if inside == "." else f":(literal){inside}")
    environments = tuple(name.removesuffix(_ENVIRONMENT) for name in found if name.endswith(f"/{_ENVIRONMENT}"))
    names = (name for name in found if _is_source(name) and not name.startswith(environments))
    return list(_kept(checkout.root, names, lacks))


def texts_of(folder: Path, lacks: Callable[[str], object]) -> dict[str, str]:
    """Return the texts of the files below a folder that no repository holds, by path relative to it.

    Args:
        folder: the project's folder.
        lacks: called with one line that names the files left out.
    """
    return _kept(folder, itertools.islice(_walk(folder), _MOST_SEEN), lacks)


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        is_environment = _ENVIRONMENT in files
        folders[:] = [] if is_environment else sorted(name for name in folders if _is_source(name))
        for name in [] if is_environment else sorted(files):
            if _is_source(name):
                yield Path(place, name).relative_to(folder).as_posix()


def _is_source(name: str) -> bool:
    return not any(part in _PRODUCED or part.startswith(".") for part in name.split("/"))


def _kept(root: Path, names: Iterable[str], lacks: Callable[[str], object]) -> dict[str, str]:
    kept: dict[str, str] = {}
    left_out: list[str] = []
    room = _MOST_BYTES
    for name in names:
        text = _text(root / name) if len(kept) < _MOST_FILES else None
        size = len(text.encode()) if text is not None else 0
        if text is None or size > room:
            left_out.append(name)
        else:
            kept[name] = text
            room -= size
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        lacks(f"{', '.join(left_out[:5])}{more} will be missing there: commit them, or log them as artifacts")
    return kept


def _text(file: Path) -> str | None:
    """Return the text of a file, None if it is large or no text."""
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return None
        text = file.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text
