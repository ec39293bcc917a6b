"""How commands print: tables on stdout, and a progress bar on stderr.

On a terminal `rich` draws both and honours NO_COLOR; a pipe or a file gets plain lines and no progress bar. Only this
module imports `rich`, and only for a terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import click

Advance = Callable[[str], None]
"""Moves a progress bar on by one step and shows a text beside it; "" keeps the text before."""


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
    """A cell with an address: a terminal shows a text that can be clicked, everything else the address.

    Attributes:
        text: the text on a terminal.
    """

    text: str

    def __new__(cls, address: str, text: str) -> Link:
        link = super().__new__(cls, address)
        link.text = text
        return link


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Print rows under the names of their columns, numbers to the right. Nothing is cut off or read as markup."""
    cells = [[cell if isinstance(cell, Link) else str(cell) for cell in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(columns))]
    if is_terminal():
        _draw(columns, cells, numeric, title)
        return
    if title:
        click.echo(title)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _draw(columns: Sequence[str], cells: list[list[str]], numeric: list[bool], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(title) if title else None, title_justify="left")
    for name, right in zip(columns, numeric, strict=True):
        drawn.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell.text, f"link {cell}") if isinstance(cell, Link) else Text(cell) for cell in row))
    Console(file=sys.stdout).print(drawn)


def name_default_store() -> None:
    """Print to stderr which MLflow store a command uses, if MLFLOW_TRACKING_URI does not name one."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        from autoinstrument.mlflow_store.runs import default_tracking_uri
        from autoinstrument.mlflow_store.store_errors import shown

        click.echo(f"MLflow store: {shown(default_tracking_uri())}", err=True)


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
        console=Console(file=sys.stderr), transient=True, redirect_stdout=is_terminal(),
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total, now="")

        def advance(text: str) -> None:
            if text:
                bar.update(task, now=text)
            bar.advance(task)

        yield advance
