"""Lock files in a repository, which agents of their type install instead of a Task's packages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_LOCK_FILES = {"uv.lock": "uv", "poetry.lock": "poetry"}
"""The type of agent that installs each, the value of `agent.package_manager.type` (clearml-agent 3.0.3)."""
_THIS_PACKAGE = re.compile(rb"""^name = ["']autoinstrument["']\s*$""", re.M)
_LARGEST = 50_000_000


def lock_files_without_this_package(folder: Path) -> Iterator[str]:
    """Yield one line for each lock file of a folder's repository by which a clone would run without this package.

    Args:
        folder: a folder in the repository. An agent looks for lock files at the root only, by default.
    """
    root = next((each for each in (folder, *folder.parents) if os.path.lexists(each / ".git")), None)
    if root is None:
        return
    for name, kind in _LOCK_FILES.items():
        try:
            file = root / name
            if file.stat().st_size > _LARGEST:  # it is not known what it lists
                continue
            text = file.read_bytes()
        except OSError:
            continue
        if not _THIS_PACKAGE.search(text):
            yield (
                f"{name} has no autoinstrument: an agent with agent.package_manager.type {kind} installs what it "
                "lists, not these packages; add autoinstrument to the project"
            )
