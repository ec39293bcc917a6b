"""Know which tracebacks a run's console holds, so that none is added a second time."""

from __future__ import annotations

import re
from collections import deque

from autoinstrument.mirror.mapping.run_status import named

_TRACEBACK, _SGR = "Traceback (most recent call last)", re.compile(r"\x1b\[[0-9;]*m")


class PrintedExceptions:
    """The exceptions whose tracebacks were printed lately, by the line that names them."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=200)
        self._begun = False

    def take(self, text: str) -> None:
        """Look at the next line."""
        self._begun = self._begun or _TRACEBACK in text
        if self._begun:
            line = _SGR.sub("", text).removeprefix("  | ")  # as in `named`
            if line and not line[0].isspace():
                self._lines.append(line[:500])

    def __contains__(self, error: str) -> bool:
        return named(error) in self._lines
