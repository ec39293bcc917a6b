"""Limits of what is read of an artifact for its preview.

This is one rule for the training process, which reads small files, and for the worker, which reads the artifact store.
"""

from __future__ import annotations

from pathlib import PurePosixPath

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svg")
"""Images that browsers show."""
PAGES = (".html", ".htm")
PREVIEW = 64 * 2**10
"""Bytes of text that ClearML keeps as an artifact's preview."""
MAX_SHOWN = 16 * 2**20
"""Bytes of a picture, page or JSON file that is shown; of a larger one only the preview is read."""


def suffix(path: str) -> str:
    """Return the ending of a file's name in lower case, as in ".png"."""
    return PurePosixPath(path).suffix.lower()


def wanted(path: str, size: int) -> int:
    """Return how many bytes from the file's beginning are worth reading."""
    shown = suffix(path) in (*PICTURES, *PAGES, ".json")
    return size if shown and size <= MAX_SHOWN else min(size, PREVIEW)


def kept(content: bytes, size: int) -> bytes:
    """Return the content if it is of use, else b"": the whole file, or the beginning of a text."""
    return b"" if len(content) < size and b"\0" in content else content
