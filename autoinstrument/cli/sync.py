"""`autoinstrument sync`: make the Tasks of recorded runs."""

from __future__ import annotations

import json
import sys

import click

from autoinstrument.mirror.sync import Outcome, sync_all
from autoinstrument.settings import SettingsError, read_settings


@click.command()
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only this MLflow run; may be given several times.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def sync(runs: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Complete what a missing ClearML server, or a process that was killed, has left undone.

    Reads the captures in AUTOINSTRUMENT_HOME and the MLflow store. A run that is still being trained is left alone.
    Running it twice changes nothing.
    """
    try:
        settings = read_settings()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    outcomes: list[Outcome] = []
    for outcome in sync_all(settings, runs=runs, dry_run=dry_run):
        outcomes.append(outcome)
        if not as_json:
            click.echo(f"{outcome.run_name or outcome.run_id}: {outcome.result} {outcome.detail}".rstrip())
    missing = sorted(set(runs) - {outcome.run_id for outcome in outcomes})
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    elif not outcomes and not missing:
        click.echo("nothing to do: no run is pending")
    for run_id in missing:
        click.echo(f"{run_id}: no capture of this run is pending here", err=True)
    sys.exit(1 if failed or missing else 0)
