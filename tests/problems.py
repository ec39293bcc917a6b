"""Problems that the agent reports while a test runs: errors that its guards swallow, and warnings in its log files.

The agent keeps its errors out of the training, so a test that looks at the result alone may pass although something
failed. The fixture `no_problems` of tests/conftest.py fails such a test, unless a marker names the problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_SWALLOWED_ON_STDERR = re.compile(
    r"^autoinstrument: .*(?: failed, training goes on \(|autoinstrument failed with ).*$", re.MULTILINE
)
_IN_LOG = re.compile(r"^.*\[\d+\] (?:WARNING|ERROR|CRITICAL) .*$", re.MULTILINE)


class Problems:
    """Collects the reports of this process, of scripts that it runs, and in the homes of their workers."""

    def __init__(self) -> None:
        self.swallowed: list[str] = []
        """Errors that guards of this process swallowed, as "place: type: text"."""
        self._lines: list[str] = []
        self._homes: list[Path] = []
        self._read: dict[Path, int] = {}
        """Positions up to which log files were read, in characters."""

    def begin(self) -> None:
        """Forget the reports of earlier tests."""
        self.swallowed.clear()
        self._lines.clear()
        self._homes.clear()

    def watch(self, home: Path) -> None:
        """Look at the log files of an AUTOINSTRUMENT_HOME when the test ends."""
        self._homes.append(home)

    def read_stderr(self, text: str) -> None:
        """Look for errors that guards of a script swallowed."""
        self._lines += _SWALLOWED_ON_STDERR.findall(text)

    def reported(self) -> Iterator[str]:
        """Yield the reports of scripts and their workers since the last call."""
        yield from self._lines
        for file in [file for home in dict.fromkeys(self._homes) for file in sorted(home.glob("*.log"))]:
            text = file.read_text("utf-8", errors="replace")
            yield from _IN_LOG.findall(text[self._read.get(file, 0) :])
            self._read[file] = len(text)


PROBLEMS = Problems()
"""Those of the test that runs now."""


def unexpected(problems: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the problems in which no pattern is found."""
    compiled = [re.compile(pattern) for pattern in patterns]
    return [problem for problem in problems if not any(pattern.search(problem) for pattern in compiled)]


OF_FAULTS = r"^(?!.*\b(?:Assertion|Attribute|Index|Key|Name|Type|UnboundLocal)Error\b)"
"""Pattern for tests that disturb servers, disks or processes: any report except that of a mistake in the code."""
