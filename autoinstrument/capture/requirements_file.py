"""Requirements files that a person wrote, as the one text that a Task holds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

_NESTED = re.compile(r"(?:-r|--requirement)[ =]*(?P<name>\S+)")
_DEEPEST = 10


def requirement_lines(lines: Iterable[str], folder: Path, depth: int = 0) -> Iterator[str]:
    """Yield requirements, those of the files that they name in place of `-r`: an agent does not have these files.

    Args:
        lines: as a requirements file has them.
        folder: that of the file.
        depth: number of files above.

    Raises:
        OSError, UnicodeDecodeError: a file that they name cannot be read.
    """
    for line in lines:
        nested = _NESTED.match(line.strip())
        if nested and depth < _DEEPEST:
            file = folder / shlex.split(nested["name"])[0]
            yield from requirement_lines(file.read_text(encoding="utf-8").splitlines(), file.parent, depth + 1)
        elif line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()
