"""`autoinstrument status`: list runs, their Tasks, and what is pending."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import click

from autoinstrument.cli.examples import examples
from autoinstrument.cli.output import Link, is_terminal, name_default_store, table, wrapped
from autoinstrument.cli.run_rows import Row, listed_rows
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.mlflow_store.runs import default_tracking_uri
from autoinstrument.mlflow_store.store_errors import NotFoundError, shown
from autoinstrument.settings import read_settings


@click.command(
    short_help="List the latest runs, their Tasks, and what waits.",
    epilog=examples("autoinstrument status", "autoinstrument status --experiment vision --limit 5 --wide"),
)
@click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this experiment; may be repeated."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Maximum number of runs.")
@click.option("--wide", is_flag=True, help="One line per run, with whole names and addresses.")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
@reports_bad_settings
def status(experiments: tuple[str, ...], limit: int, wide: bool, as_json: bool) -> None:
    """List the runs of the tracking server, newest first, and those that wait on this machine.

    The ids in the columns Task and MLflow are links on a terminal; elsewhere the addresses are below the table. Long
    names are shortened. `autoinstrument open ID` opens a Task.

    Exit code 1 if the tracking server does not answer, or the store does not exist: then only the runs recorded on this
    machine are listed. A store that does not exist is not created.
    """
    try:
        rows, problem = listed_rows(read_settings(), experiments=experiments, limit=limit)
    except NotFoundError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
    elif rows:
        if not problem:
            name_default_store()
        _show_wide(rows) if wide else _show(rows)
    elif not problem:
        click.echo(f"there are no runs yet in {shown(default_tracking_uri())}")
    if problem:
        click.echo(problem, err=True)
    sys.exit(1 if problem else 0)


def _show_wide(rows: list[Row]) -> None:
    """Print a table with one line per run."""
    columns = ["run", "experiment", "began", "status", "state", "Task", "MLflow", "pending"]
    cells = [
        (
            row.run_name or row.run_id, row.place, _time(row.started_ms, "%Y-%m-%d %H:%M:%S"), row.status, row.state,
            row.task_url or row.task_id, row.run_url or row.run_id, row.pending,
        )
        for row in rows
    ]  # fmt: skip
    table(columns, cells, plain=True)


def _show(rows: list[Row]) -> None:
    """Print a table that fits the terminal, and below it what does not fit into it."""
    columns = ["run", "experiment", "began", "status", "state", "Task", "MLflow"]
    year = datetime.now().strftime("%Y")
    cells = []
    for row in rows:
        began = _time(row.started_ms, "%Y-%m-%d %H:%M")
        began = began.removeprefix(f"{year}-") if began.startswith(year) else began[: len("2026-01-01")]
        cells.append(
            (
                row.run_name or row.run_id, row.place, began, row.status, row.state,
                Link(row.task_url, row.task_id[:8]), Link(row.run_url, row.run_id[:8]),
            )
        )  # fmt: skip
    table(columns, cells, shortened=("run", "experiment"))
    below: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        lines = [row.pending] if row.pending else []
        if not is_terminal():
            links = (("Task", row.task_url), ("MLflow", row.run_url))
            lines = [f"{what}: {address}" for what, address in links if address] + lines
        below.setdefault(tuple(lines), []).append(f"{row.run_name or row.run_id} ({row.run_id[:8]})")
    below.pop((), None)
    for lines_of_runs, runs in below.items():  # runs that wait for the same reason share it
        click.echo(f"\n{wrapped(', '.join(runs), '')}")
        for line in lines_of_runs:
            click.echo(wrapped(f"  {line}", " " * 4))


def _time(time_ms: int, form: str) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000).strftime(form) if time_ms else ""
    except (OverflowError, OSError, ValueError):
        return ""
