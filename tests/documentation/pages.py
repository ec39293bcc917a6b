"""The shell commands of a page: blocks fenced as `console`, a command behind each `$ `, what it prints below it.

- `> ` continues a command. `…` in the output stands for anything in the line, a line of `…` alone for any lines.
  stdout comes before stderr. A command without output below it may print what it likes. A command must end with
  exit code 0, unless the next one is `echo $?`.
- `<!-- not run: reason -->` before a block gives the reason why it cannot run here.
- `<!-- run first: command -->` before a block is preparation that readers need not see.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?P<before>(?:<!--.*?-->\s*\n)*)^(?P<indent> *)```(?P<kind>\S*)[^\n]*\n(?P<text>.*?)^ *```", re.M | re.S
)
_PROGRAM = "(?:autoinstrument|pip|python3?|export|mlflow|poetry|uv|conda|clearml-agent|docker|kubectl)"
_SHELL = ("console", "sh", "bash", "shell")


class Command(NamedTuple):
    """A command and what it should print, None for anything."""

    line: int
    text: str
    output: str | None


def commands(page: Path) -> list[Command]:
    """Return the commands of a page that can be run, in their order.

    Raises:
        ValueError: a block of shell commands has neither form.
    """
    found: list[Command] = []
    content = page.read_text("utf-8")
    for block in _BLOCK.finditer(content):
        if block["kind"] not in _SHELL or re.search(r"<!-- not run: \S", block["before"]):
            continue
        line = content.count("\n", 0, block.start("text")) + 1
        if block["kind"] != "console":
            raise ValueError(f"{page.name}:{line}: write ```console and `$ ` before each command, or say `not run: …`")
        found += (Command(line, text, None) for text in re.findall(r"<!-- run first: (.*?) -->", block["before"], re.S))
        found += _of(block["text"], line, len(block["indent"]))
    return found


def unmarked(page: Path) -> list[str]:
    """Return lines that look like commands and stand in no block of commands: nothing would run them.

    They are indented, so that a reader would not recognise them, or in a block of plain text.
    """
    content = page.read_text("utf-8")
    found = re.findall(rf"^ {{4,}}(?:\$ )?{_PROGRAM} .*", _BLOCK.sub("", content), re.M)
    for text in (block["text"] for block in _BLOCK.finditer(content) if block["kind"] in ("", "text")):
        found += re.findall(rf"^ *(?:\$ .*|{_PROGRAM} .*)", text, re.M)
    return found


def blocks(page: Path, kind: str) -> list[str]:
    """Return the blocks of a page that are in a language."""
    found = _BLOCK.finditer(page.read_text("utf-8"))
    return [textwrap.dedent(block["text"]) for block in found if block["kind"] == kind]


def matches(expected: str, printed: str) -> bool:
    """Return True if a command printed what the page shows."""
    pattern = ""
    for line in expected.splitlines(keepends=True):
        pattern += r"(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…")))
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.splitlines())) is not None


def _of(text: str, line: int, indent: int) -> list[Command]:
    found: list[Command] = []
    for number, full in enumerate(text.splitlines(), line):
        row = full[indent:]
        if row.startswith("$ "):
            found.append(Command(number, row[2:], None))
        elif row.startswith("> ") and found and found[-1].output is None:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}\n{row[2:]}")
        elif found:
            found[-1] = found[-1]._replace(output=f"{found[-1].output or ''}{row.rstrip()}\n")
    return found
