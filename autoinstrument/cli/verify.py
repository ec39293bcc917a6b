"""`autoinstrument verify`: compare runs with their Tasks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from autoinstrument.from_mlflow.links import TASK_ID
from autoinstrument.from_mlflow.store import find_run, find_runs
from autoinstrument.mirror.verification import Difference, differences
from autoinstrument.settings import Settings, SettingsError, read_settings
from autoinstrument.to_clearml.errors import ClearMLError
from autoinstrument.to_clearml.session import Session
from autoinstrument.to_clearml.tasks import Tasks


@click.command(
    help=f"""Compare MLflow runs with their Tasks, and say what differs and what repairs it.

RUN are run ids; without any, all runs of the tracking server that have the tag {TASK_ID} and have ended.
Exit codes: 0 no difference, 1 differences, 2 wrong usage.
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def verify(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare runs with their Tasks."""
    try:
        settings = read_settings()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    tasks = Tasks(Session())
    reports: list[dict[str, object]] = []
    same = 0
    for run_id, name, found in _compared(runs, settings, tasks):
        repair = f"autoinstrument sync --full --run {run_id}"
        same += not found
        if not found:
            continue
        told = [difference._asdict() for difference in found]
        reports.append({"run_id": run_id, "run_name": name, "differences": told, "repair": repair})
        if not as_json:
            click.echo(f"{name or run_id}: differs")
            for difference in found:
                click.echo(f"  {difference.what}: {difference.detail}")
            click.echo(f"  repair: {repair}")
    if as_json:
        click.echo(json.dumps({"same": same, "different": reports}, indent=2))
    else:
        click.echo(f"{same} the same, {len(reports)} different")
    sys.exit(1 if reports else 0)


def _compared(runs: tuple[str, ...], settings: Settings, tasks: Tasks) -> Iterator[tuple[str, str, list[Difference]]]:
    """Yield id and name of each run that is meant, and what differs."""
    for run_id in runs:
        name, found = "", list[Difference]()
        try:
            run = find_run(run_id).run
            name = run.run_name
            found = list(differences(run_id, run.tracking_uri, settings, tasks))
        except Exception as error:  # MLflow's store raises what its driver raises: said, and on to the next run
            found = [_problem(error)]
        yield run_id, name, found
    if runs:
        return
    for stored in find_runs():
        if stored.has_ended and TASK_ID in stored.run.tags:
            try:
                found = list(differences(stored.run.run_id, stored.run.tracking_uri, settings, tasks))
            except Exception as error:  # as above
                found = [_problem(error)]
            yield stored.run.run_id, stored.run.run_name, found


def _problem(error: Exception) -> Difference:
    side = "ClearML" if isinstance(error, ClearMLError) else "MLflow"
    return Difference(side, f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
