"""The findings of `doctor` and `explain`: one line each with a mark, and a remedy for each problem."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

import click

from autoinstrument.cli.output import is_terminal, wrapped
from autoinstrument.scrubber import hide_in_text

_MARKS = {True: ("✓", "ok", "green"), False: ("✗", "!!", "red"), None: ("·", "--", "")}
"""Mark, its ASCII form, and its colour; None marks a finding that is neither good nor bad."""


class Check(NamedTuple):
    """One finding."""

    what: str
    ok: bool | None
    detail: str = ""
    remedy: str = ""
    """One sentence for a finding that is not ok."""


def show(checks: Iterable[Check]) -> bool:
    """Print findings as they come; return True if none of them is a problem."""
    colour = is_terminal() and not os.environ.get("NO_COLOR")
    column = 0 if _knows("✓✗·") else 1
    good = True
    for check in checks:
        marks = _MARKS[check.ok]
        mark, drawn = marks[column], click.style(marks[column], fg=marks[2]) if colour and marks[2] else marks[column]
        line = wrapped(f"{mark} {check.what}: {check.detail}" if check.detail else f"{mark} {check.what}", " " * 4)
        click.echo(_fit(line.replace(mark, drawn, 1)))
        if check.remedy and check.ok is False:
            click.echo(_fit(wrapped(f"  {check.remedy}", " " * 2)))
        good = good and check.ok is not False
    return good


def masked(check: Check) -> Check:
    """Return the finding without the passwords of URLs."""
    return check._replace(detail=hide_in_text(check.detail), remedy=hide_in_text(check.remedy))


def _knows(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _fit(text: str) -> str:
    """Return the text in a form that stdout can encode; a path may hold any bytes."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")
