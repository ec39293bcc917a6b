"""What `doctor` and `explain` find: one line each with a mark, and for what is wrong the remedy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

import click

from autoinstrument.cli.output import is_terminal
from autoinstrument.scrubber import hide_in_text

_MARKS = {True: ("✓", "ok", "green"), False: ("✗", "!!", "red"), None: ("·", "--", "")}
"""Mark, the same in ASCII, colour; None is for what is neither good nor bad."""


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    ok: bool | None
    detail: str = ""
    remedy: str = ""
    """One sentence, for what is not ok."""


def show(checks: Iterable[Check]) -> bool:
    """Print checks as they come, and tell whether nothing is wrong."""
    colour = is_terminal() and not os.environ.get("NO_COLOR")
    column = 0 if _knows("✓✗·") else 1
    good = True
    for check in checks:
        marks = _MARKS[check.ok]
        mark = click.style(marks[column], fg=marks[2]) if colour and marks[2] else marks[column]
        click.echo(_fit(f"{mark} {check.what}: {check.detail}" if check.detail else f"{mark} {check.what}"))
        if check.remedy and check.ok is False:
            click.echo(_fit(f"  {check.remedy}"))
        good = good and check.ok is not False
    return good


def masked(check: Check) -> Check:
    """Return the check without passwords of URLs in it."""
    return check._replace(detail=hide_in_text(check.detail), remedy=hide_in_text(check.remedy))


def _knows(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _fit(text: str) -> str:
    """Return the text as stdout can take it; a path may have any bytes in it."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")
