"""`autoinstrument sync`: make Tasks complete."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import datetime

import click

from autoinstrument.mirror.backfill import Outcome
from autoinstrument.mirror.sync import sync_all, sync_stored
from autoinstrument.settings import Settings, SettingsError, read_settings

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


@click.command()
@click.option("--run", "runs", multiple=True, metavar="ID", help="This MLflow run; may be given several times.")
@click.option("--experiment", "experiments", multiple=True, metavar="NAME", help="All runs of an experiment; as above.")
@click.option("--all", "everything", is_flag=True, help="All runs of all experiments of the tracking server.")
@click.option(
    "--since", type=click.DateTime(_FORMATS), help="Of these, only runs that began then or later (local time)."
)
@click.option("--deleted", is_flag=True, help="Of these, deleted runs too; their Tasks are archived.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the store's, runs at a time."
)
@click.option("--full", is_flag=True, help="Compare histories, files and models also where all else is the same.")
@click.option("--dask", default="", metavar="ADDRESS", help="Spread them over this Dask cluster (extra `dask`).")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def sync(
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    everything: bool,
    since: datetime | None,
    deleted: bool,
    full: bool,
    jobs: int,
    dask: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Complete what a missing ClearML server, or a process that was killed, has left undone.

    Without a selection: the runs that were recorded on this machine (AUTOINSTRUMENT_HOME). With one: any runs of the
    tracking server (MLFLOW_TRACKING_URI), also those from before the agent was installed, and what was changed since.

    A run that is still being trained is left alone. Running it twice changes nothing.
    """
    try:
        settings = read_settings()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    if everything and (experiments or runs):
        raise click.UsageError("--all is all there is: give it without --experiment and --run")
    if (since or deleted) and not (everything or experiments):
        raise click.UsageError("--since and --deleted choose among the runs of --all or --experiment")
    with _cluster(dask) as (executor, slots):
        outcomes = _outcomes(
            settings,
            runs,
            experiments,
            everything,
            since,
            deleted,
            dry_run,
            full=full,
            jobs=slots or jobs,
            executor=executor,
        )
        code = _tell(outcomes, as_json=as_json, of_store=bool(everything or experiments))
    sys.exit(code)


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor | None, int]]:
    """Give the executor of a Dask cluster and how many threads it has; (None, 0) without an address.

    The workers reach MLflow and ClearML by their own configuration, as this process does by its own.
    """
    if not address:
        yield None, 0
        return
    try:
        import distributed
    except ImportError:
        raise click.UsageError("--dask needs the extra: pip install autoinstrument[dask]") from None
    with distributed.Client(address) as client:
        yield client.get_executor(), sum(client.nthreads().values()) or 1


def _outcomes(
    settings: Settings,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    everything: bool,
    since: datetime | None,
    deleted: bool,
    dry_run: bool,
    *,
    full: bool,
    jobs: int,
    executor: Executor | None,
) -> Iterator[Outcome]:
    seen = set()
    if runs or not experiments:  # --all begins with what only this machine knows
        for outcome in sync_all(settings, runs=runs, dry_run=dry_run):
            seen.add(outcome.run_id)
            yield outcome
    if runs or experiments or everything:
        since_ms = int(since.timestamp() * 1000) if since else 0
        try:
            for outcome in sync_stored(
                settings,
                runs=[run_id for run_id in runs if run_id not in seen],
                experiments=experiments,
                everything=everything,
                since_ms=since_ms,
                deleted=deleted,
                full=full,
                dry_run=dry_run,
                jobs=jobs,
                executor=executor,
            ):
                if outcome.run_id not in seen:
                    yield outcome
        except LookupError as error:
            raise click.UsageError(str(error.args[0])) from None


def _tell(outcomes: Iterator[Outcome], *, as_json: bool, of_store: bool) -> int:
    """Print what became of the runs as it comes, and return the exit code."""
    told: list[Outcome] = []
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts[outcome.result] += 1
        if as_json:
            told.append(outcome)
        elif outcome.result != "unchanged":
            click.echo(f"{outcome.run_name or outcome.run_id}: {outcome.result} {outcome.detail}".rstrip())
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in told], indent=2))
    elif of_store:
        click.echo(", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "no runs")
    elif not counts:
        click.echo("nothing to do: no run is pending")
    return 1 if counts["failed"] else 0
