"""How commands print: tables on stdout, and a progress bar on stderr.

On a terminal `rich` draws both and honours NO_COLOR; a pipe or a file gets plain lines and no progress bar. Only this
module imports `rich`, and only for a terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

import click

from autoinstrument.guard import visible

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[str], None]
"""Moves a progress bar on by one step and shows a text beside it; "" keeps the text before."""

_NARROWEST = 8
"""No column is shortened to fewer characters."""


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return True if a stream (None: stdout) is a terminal that can move its cursor."""
    if stream is None:
        stream = sys.stdout
    try:
        if not stream.isatty():
            return False
    except (AttributeError, ValueError):  # there is no stream, as under pythonw, or it is closed
        return False
    from rich.console import Console

    return not Console(file=stream).is_dumb_terminal


class Link(str):
    """A cell with an address, "" for none: its text can be clicked on a terminal.

    Attributes:
        text: what is shown.
    """

    text: str

    def __new__(cls, address: str, text: str) -> Link:
        link = super().__new__(cls, visible(address))
        link.text = visible(text)
        return link


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    shortened: Collection[str] = (),
    plain: bool = False,
) -> None:
    """Print rows under the names of their columns, numbers to the right. Nothing is read as markup.

    Args:
        columns: their names; control characters are escaped, here and in cells.
        rows: the cells. Of a `Link`, the text is shown.
        title: a line above.
        shortened: columns whose cells are shortened so that the table fits the terminal (80 columns elsewhere). Without
            any, nothing is cut off: a terminal folds long cells.
        plain: do not draw, on a terminal either: one line per row, however long.
    """
    cells = [[cell if isinstance(cell, Link) else visible(str(cell)) for cell in row] for row in rows]
    columns, shortened = [visible(name) for name in columns], {visible(name) for name in shortened}
    numeric = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(columns))]
    if shortened:
        _shorten(columns, cells, shortened)
    if is_terminal() and not plain:
        _draw(columns, cells, numeric, title, is_compact=bool(shortened))
        return
    if title:
        click.echo(title)
    cells = [[_text(cell) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _text(cell: str) -> str:
    return cell.text if isinstance(cell, Link) else cell


def _shorten(columns: Sequence[str], cells: list[list[str]], shortened: Collection[str]) -> None:
    """Cut the cells of some columns so that the rows fit, the widest column first."""
    widths = [max(len(_text(cell)) for cell in column) for column in zip(columns, *cells, strict=True)]
    excess = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size((80, 24)).columns
    able = [i for i, name in enumerate(columns) if name in shortened]
    while excess > 0 and max(widths[i] for i in able) > _NARROWEST:
        widths[max(able, key=lambda i: widths[i])] -= 1
        excess -= 1
    for row in cells:
        for i in able:
            if len(row[i]) > widths[i]:
                row[i] = f"{row[i][: widths[i] - 2]}.."


def _draw(columns: Sequence[str], cells: list[list[str]], numeric: list[bool], title: str, *, is_compact: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(title) if title else None, title_justify="left")
    if is_compact:
        drawn.box, drawn.pad_edge, drawn.padding = None, False, (0, 2, 0, 0)
    for name, right in zip(columns, numeric, strict=True):
        drawn.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(
            *(
                Text(_text(cell), f"link {cell}") if isinstance(cell, Link) and cell else Text(_text(cell))
                for cell in row
            )
        )
    Console(file=sys.stdout).print(drawn)


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a text in lines that fit the terminal, broken at blanks; in one line, if there is no terminal.

    Args:
        text: what to show; its control characters are escaped.
        indent: what the second and later lines begin with.
    """
    text = visible(text)
    if not is_terminal():
        return text
    width = shutil.get_terminal_size((80, 24)).columns
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def name_default_store() -> None:
    """Print to stderr which MLflow store a command uses, if MLFLOW_TRACKING_URI does not name one."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        from autoinstrument.mlflow_store.runs import default_tracking_uri
        from autoinstrument.mlflow_store.store_errors import shown

        click.echo(f"MLflow store: {shown(default_tracking_uri())}", err=True)


class _AboveBar(io.TextIOBase):
    """A stream whose lines appear above a progress bar.

    rich has such a stream, which names no encoding: click (seen in 8.4) then writes to the terminal itself, beside the
    bar. It also breaks long lines, so that an address cannot be copied.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console, self._rest = console, ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        from rich.text import Text

        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._console.print(Text.from_ansi(line), soft_wrap=True)
        return len(text)


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """Show a progress bar on stderr, if that is a terminal; give a function that moves it on.

    Lines that are printed meanwhile appear above the bar.

    Args:
        what: the activity, as in "syncing".
        total: number of steps; None if it is not known.
    """
    if not is_terminal(sys.stderr):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", markup=False),
        console=Console(file=sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    above = _AboveBar(bar.console)
    with bar, contextlib.redirect_stderr(above), contextlib.redirect_stdout(above if is_terminal() else sys.stdout):
        task = bar.add_task(what, total=total, now="")

        def advance(text: str) -> None:
            if text:
                bar.update(task, now=visible(text))
            bar.advance(task)

        yield advance
