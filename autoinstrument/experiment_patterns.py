"""Choose the experiments that are mirrored: the glob patterns of `AUTOINSTRUMENT_EXPERIMENTS`.

The last pattern that matches a name decides, as in a `.gitignore` file; one that begins with `!` excludes. If the first
pattern excludes, all other experiments are mirrored.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

EXCLUDES = "!"
EVERYTHING = ("*",)
VARIABLE = "AUTOINSTRUMENT_EXPERIMENTS"


def parse(text: str) -> tuple[str, ...]:
    """Return the patterns of a text, in which commas separate them. In a pattern, `?` stands for a comma in a name.

    Raises:
        ValueError: there is no pattern, one is empty, or a bracket is not closed.
    """
    patterns = tuple(pattern for part in text.split(",") if (pattern := part.strip()))
    if not patterns:
        raise ValueError(text)
    for pattern in patterns:
        glob = pattern.removeprefix(EXCLUDES).strip()
        if not glob or glob.rfind("[") > glob.rfind("]"):
            raise ValueError(text)
    return patterns


def are_mirrored(patterns: Sequence[str], name: str) -> bool:
    """Return True if runs of the experiment of this name are mirrored; upper and lower case differ, as in MLflow."""
    mirrored = patterns[0].startswith(EXCLUDES)
    for pattern in patterns:
        if fnmatch.fnmatchcase(name, pattern.removeprefix(EXCLUDES).strip()):
            mirrored = not pattern.startswith(EXCLUDES)
    return mirrored
