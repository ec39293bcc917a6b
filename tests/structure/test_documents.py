"""Modules, folders and files that the documents name exist in the project."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.startup.environment import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "tests").rglob("*.md")),
]
FOLDERS = (
    "autoinstrument", "tests", "docs", "examples", "benchmarks", "sitecustomize_template", ".ci", ".github",
)  # fmt: skip
READERS_OWN = {"train.py", "autoinstrument/worker.py"}
"""Scripts of the reader, and modules of old releases in the changelog."""

_NAMED = re.compile(r"`([^`\n]+)`|\]\(([^)#\s]+)")
"""Code in a line, or the target of a link."""


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """All files and folders of the project, each with all ends of its path: "mirror/kinds" is found by "kinds"."""
    found = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts}
    found |= set(ROOT.glob("*"))
    parts = [path.relative_to(ROOT).parts for path in found]
    return {"/".join(path[start:]) for path in parts for start in range(len(path))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_only_what_exists(document: Path, paths: set[str]) -> None:
    gone = []
    for match in _NAMED.finditer(document.read_text("utf-8")):
        text = match[1] or match[2]
        files = set(re.findall(r"(?<![\w./-])(?:[\w-]+/)*[\w-]+\.py\b", text))
        folders = {text.rstrip("/")} if re.fullmatch(r"(?:[a-z_]+/)+", text) else set()
        gone += sorted((files | folders) - paths - READERS_OWN)
        for name in re.findall(r"(?<![\w./-])autoinstrument(?:\.[a-z_]+)+", text):
            module, _, attribute = name.rpartition(".")
            found = importlib.util.find_spec(module)
            if found is None or not (hasattr(importlib.import_module(module), attribute) or _is_module(name)):
                gone.append(name)
    assert gone == []


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
