"""The line with the Task's link in a run's description (`AUTOINSTRUMENT_NOTE=on`).

MLflow's pages show no tag as a link. They show the description, the tag `mlflow.note.content`, as Markdown.
"""

from __future__ import annotations

import re

NOTE = "mlflow.note.content"
_LINE = re.compile(r"(?:\r?\n){0,2}^\[ClearML Task\]\(\S*\)[ \t]*$", re.MULTILINE)
_LONGEST = 5000
"""Characters of a description with its line; MLflow 2.16 to 3.17 cuts longer tags, some stores refuse them."""


def with_link(note: str, url: str) -> str:
    """Return a description with the line for a Task's address: where it was, else at the end; unchanged if too long."""
    line = f"[ClearML Task]({url.replace('(', '%28').replace(')', '%29')})"
    found = _LINE.search(note)
    if found:
        before, after = note[: found.start()], _LINE.sub("", note[found.end() :])
        between = found[0][: found[0].index("[")]
        changed = f"{before}{between}{line}{after}"
    else:
        changed = f"{note.rstrip()}\n\n{line}" if note.strip() else line
    return changed if len(changed) <= _LONGEST else note


def without_link(note: str) -> str:
    """Return a description as people wrote it, without the line."""
    found = _LINE.search(note)
    if not found:
        return note
    rest = _LINE.sub("", note)
    return rest.lstrip("\r\n") if found.start() == 0 else rest
