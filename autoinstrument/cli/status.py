"""`autoinstrument status`: list runs, their Tasks, and what is pending."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click

from autoinstrument.cli.output import Link, is_terminal, name_default_store, table
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.journal.liveness import why_alive
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mlflow_store.left_out import LEFT_OUT, is_left_out
from autoinstrument.mlflow_store.link_tags import STATE, TASK_ID, TASK_URL
from autoinstrument.mlflow_store.runs import default_tracking_uri, latest_runs
from autoinstrument.mlflow_store.store_errors import NoStoreError, problem_of, shown
from autoinstrument.mlflow_store.urls import named
from autoinstrument.scrubber import hide_in_text, without_credentials
from autoinstrument.settings import Settings, read_settings


class Row(NamedTuple):
    """A run as it is listed."""

    run_id: str
    run_name: str
    experiment: str
    started_ms: int
    status: str
    """Status in MLflow, "" if the tracking server does not know the run."""
    state: str
    """`live`, `synced`, `pending`, `left out` (of an experiment that AUTOINSTRUMENT_EXPERIMENTS leaves out), or "" for
    a run that was never mirrored."""
    task_id: str
    task_url: str
    run_url: str
    workspace: str
    """Workspace in MLflow, "" for the default one, and where there are none."""
    pending: str
    """What must still be done for the run and why, "" for nothing."""

    @property
    def place(self) -> str:
        """The experiment, after the workspace if that is not the default one."""
        return f"{self.workspace}: {self.experiment}" if self.workspace else self.experiment


@click.command()
@click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this experiment; may be repeated."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Maximum number of runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
@reports_bad_settings
def status(experiments: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List the runs of the tracking server, newest first, and those that wait on this machine.

    Exit code 1 if the tracking server does not answer, or the store does not exist: then only the runs recorded on this
    machine are listed. A store that does not exist is not created.
    """
    settings = read_settings()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    waiting, problem = _recorded(settings), ""
    try:
        rows = _stored(experiments, limit, waiting, settings)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    except NoStoreError as error:
        rows, problem = [], str(error)
    except Exception as error:  # MLflow's store raises what its driver raises
        reason = problem_of(error)
        rows, problem = [], f"the tracking server does not answer, see `autoinstrument doctor` ({reason})"
    listed = {row.run_id for row in rows}
    here = [row for row in waiting.values() if row.run_id not in listed]
    rows += [row for row in here if not experiments or row.experiment in experiments]
    rows.sort(key=lambda row: row.started_ms, reverse=True)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
    elif rows:
        if not problem:
            name_default_store()
        _show(rows)
    elif not problem:
        click.echo(f"there are no runs yet in {shown(default_tracking_uri())}")
    if problem:
        click.echo(problem, err=True)
    sys.exit(1 if problem else 0)


def _stored(experiments: tuple[str, ...], limit: int, waiting: dict[str, Row], settings: Settings) -> list[Row]:
    rows = []
    for stored in latest_runs(experiments=experiments, limit=limit):
        run, tags = stored.run, stored.run.tags
        state = tags.get(STATE, "")
        recorded = waiting.get(run.run_id)
        if not recorded and is_left_out(run, settings.experiments):
            state = LEFT_OUT
        pending = recorded.pending if recorded else stored.left_open
        if state == "pending" and not recorded:
            pending = (
                f"not recorded here: `autoinstrument sync` where it ran, or `sync --run {run.run_id}`, completes it"
            )
        row = Row(
            run.run_id, run.run_name, run.experiment_name, run.start_time_ms, stored.status, state,
            tags.get(TASK_ID, ""), tags.get(TASK_URL, ""), without_credentials(run.run_url),
            named(run.workspace), pending,
        )  # fmt: skip
        rows.append(row)
    return rows


def _recorded(settings: Settings) -> dict[str, Row]:
    """Return the runs that are recorded on this machine, by id."""
    rows = {}
    for folder in RunJournals(settings):
        try:
            capture = RunJournal.load(folder)
        except (OSError, ValueError, KeyError) as error:
            rows[folder.name] = _damaged(folder, error)
            continue
        run, alive = capture.run, bool(why_alive(capture))
        if alive:
            pending = ""  # it is being mirrored
        else:
            what = "its Task is not complete" if capture.task_id else "it has no Task yet"
            what = "its link tags are not written" if capture.delivered else what
            pending = (
                f"{what}{capture.reason and ': '}{hide_in_text(capture.reason)}; `autoinstrument sync` completes it"
            )
        rows[run.run_id] = Row(
            run.run_id, run.run_name, run.experiment_name, run.start_time_ms, "", "live" if alive else "pending",
            capture.task_id, capture.task_url, without_credentials(run.run_url), named(run.workspace), pending,
        )  # fmt: skip
    return rows


def _damaged(folder: Path, error: Exception) -> Row:
    reason = f"its capture cannot be read ({' '.join(str(error).split())[:200]})"
    return Row(folder.name, "", "", 0, "", "pending", "", "", "", "", reason)


def _show(rows: list[Row]) -> None:
    """Print a table; on a terminal, which would fold it, the reasons of pending runs follow below."""
    columns = ["run", "experiment", "began", "status", "state", "Task", "MLflow", "pending"]
    cells = [
        (
            row.run_name or row.run_id, row.place, _time(row.started_ms), row.status, row.state,
            Link(row.task_url, row.task_id[:8]) if row.task_url else row.task_id,
            Link(row.run_url, row.run_id[:8]) if row.run_url else row.run_id, row.pending,
        )
        for row in rows
    ]  # fmt: skip
    if not is_terminal():
        table(columns, cells)
        return
    table(columns[:-1], [row[:-1] for row in cells])
    for name, *_, pending in cells:
        if pending:
            click.echo(f"{name}: {pending}")


def _time(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M:%S") if time_ms else ""
    except (OverflowError, OSError, ValueError):
        return ""
