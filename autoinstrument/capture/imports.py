"""Find the names that the user's own code imports; runs in the worker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from autoinstrument.capture.archives import is_archive
from autoinstrument.capture.code import is_source, read
from autoinstrument.records import ProcessStarted

# Not with `ast`: its parser warns about strings in the user's code, and fails on a notebook's magics.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>\w[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]+)"
    r"|import[ \t]+(?P<modules>[^\n#;]+))",
    re.M,
)
_COMMENT = re.compile(r"#[^\n]*")


def imported_by(process: ProcessStarted) -> set[str]:
    """Return the dotted names that the process's code imports, also of functions and classes (`from a import b`)."""
    files = {os.path.realpath(file) for file in [process.main_path, *process.files.values(), *process.callers] if file}
    texts = [process.source, *(read(path) for path in map(Path, files) if is_source(path) or is_archive(path))]
    return {name for text in texts for name in _imports(text)}


def _imports(text: str) -> Iterator[str]:
    for match in _IMPORT.finditer(text):
        names = _COMMENT.sub("", match["names"] or match["modules"]).strip("()\\ \t\n").split(",")
        for name in (words[0] for words in map(str.split, names) if words):
            yield f"{match['module']}.{name}" if match["module"] else name
