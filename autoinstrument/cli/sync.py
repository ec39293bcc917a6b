"""`autoinstrument sync`: complete the Tasks of runs."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import click

from autoinstrument.clearml_api.lean_import import prepare as prepare_sdk
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.follow import EVERY_S, Follower
from autoinstrument.cli.health import Health
from autoinstrument.cli.native_heap import share_heap
from autoinstrument.cli.outcomes import kind_of, print_outcome, sum_up
from autoinstrument.cli.output import name_default_store, progress
from autoinstrument.cli.sync_options import SyncOptions
from autoinstrument.cli.usage_errors import Seconds, reports_bad_settings
from autoinstrument.journal.state_folder import home
from autoinstrument.mlflow_store.internals import import_clients
from autoinstrument.mlflow_store.left_out import LEFT_OUT
from autoinstrument.mlflow_store.runs import default_tracking_uri
from autoinstrument.mlflow_store.store_errors import NotFoundError, shown
from autoinstrument.settings import Settings, read_settings
from autoinstrument.sync.followed_runs import FollowedRuns
from autoinstrument.sync.job_processes import JobProcesses
from autoinstrument.sync.recorded import sync as sync_runs
from autoinstrument.sync.request_counts import count_requests
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.silent_runs import SilentRuns

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


@click.command(
    short_help="Complete the Tasks of runs, or make them.",
    epilog=examples(
        "autoinstrument sync",
        "autoinstrument sync --all --since 2026-01-01 --jobs 4",
        "autoinstrument sync --all --follow --live",
    ),
)
@click.option("--run", "runs", multiple=True, metavar="ID", help="This MLflow run; may be repeated.")
@click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="All runs of this experiment; may be repeated."
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All runs of the tracking server, in the experiments that AUTOINSTRUMENT_EXPERIMENTS names.",
)
@click.option(
    "--since",
    type=click.DateTime(_FORMATS),
    metavar="DATE",
    help="Of these, only runs that began then or later, as 2026-01-31 or 2026-01-31T18:30:00 (local time).",
)
@click.option("--deleted", is_flag=True, help="Also make Tasks of deleted runs that have none; they are archived.")
@click.option("--full", is_flag=True, help="Compare points, files and models even if everything else is equal.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of processes that sync runs of the tracking server.",
)
@click.option(
    "--dask", default="", metavar="ADDRESS", help="Sync these runs on a Dask cluster in place of --jobs (extra `dask`)."
)
@click.option("--follow", is_flag=True, help=f"Go on until Ctrl-C, and look for new runs every {EVERY_S:.0f} s.")
@click.option(
    "--live",
    is_flag=True,
    help="With --follow, mirror runs while they are running, without the agent in their processes.",
)
@click.option(
    "--dead-after",
    "others_after_s",
    type=Seconds(min=5),
    metavar="SECONDS",
    help="With --follow, also end runs without the agent to which nothing was logged for so long.",
)
@click.option(
    "--health",
    default="",
    metavar="HOST:PORT",
    help="With --follow, answer there to HTTP requests for /live, /ready, and /metrics (Prometheus).",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON; with --follow, one line per run.")
@reports_bad_settings
def sync(**given: Any) -> None:
    """Complete the Tasks of runs that had no ClearML server, or whose process was killed.

    Without a selection: the runs that were recorded on this machine (AUTOINSTRUMENT_HOME). With one: any runs of the
    tracking server (MLFLOW_TRACKING_URI), also those from before the agent was installed, and later changes of runs.

    A run that is still being trained is left alone, unless `--live` mirrors it. Running it twice changes nothing; an
    interrupted sync can be repeated.

    Exit codes: 0 everything is delivered, 1 something is not (the reason is printed), 2 wrong usage.
    """
    settings, options = read_settings(), SyncOptions(**given)
    options.check()
    if options.follow:
        share_heap()  # before threads begin
    if not options.dask:
        prepare_sdk()
    if options.health:
        count_requests()  # before processes are forked
    with _cluster(options.dask) if options.dask else _processes(options.jobs) as (executor, jobs):
        try:
            code = (_follow if options.follow else _once)(options, settings, jobs, executor)
        except NotFoundError as error:
            raise click.UsageError(str(error)) from None
    sys.exit(code)


@contextlib.contextmanager
def _processes(jobs: int) -> Iterator[tuple[Executor | None, int]]:
    """Give an executor of so many processes; None for one, because this process does as well."""
    if jobs == 1:
        yield None, 1
        return
    with contextlib.suppress(ImportError):  # it is reported where it is needed
        import_clients(default_tracking_uri())  # so that forked processes have it
    with JobProcesses(jobs) as executor:
        yield executor, jobs


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor | None, int]]:
    """Give the executor of a Dask cluster and its number of threads.

    Its workers reach MLflow and ClearML by their own configuration.
    """
    try:
        import distributed
    except ImportError:
        raise click.UsageError("`--dask` needs the extra `dask`: run `pip install distributed`") from None
    try:
        client = distributed.Client(address)
    except (OSError, ValueError) as error:
        raise click.UsageError(
            f"no Dask cluster answers at {address} ({type(error).__name__}): check the address"
        ) from None
    with client:
        yield client.get_executor(), sum(client.nthreads().values()) or 1


def _follow(options: SyncOptions, settings: Settings, jobs: int, executor: Executor | None) -> int:
    """Sync until a signal comes, and return the exit code."""
    selection, state = options.selection, Health()
    silent = SilentRuns(
        Tasks(Session()), settings,
        experiments=options.experiments, others_after_s=options.others_after_s or math.inf,
    )  # fmt: skip
    running = FollowedRuns(selection, settings, jobs=jobs, executor=executor) if options.live else None
    with state.served(options.health):
        follower = Follower(selection, settings, jobs, executor, silent, running, state, as_json=options.as_json)
        return follower.follow()


def _once(options: SyncOptions, settings: Settings, jobs: int, executor: Executor | None) -> int:
    """Sync once, print the outcome of each run and a summary, and return the exit code."""
    selection, as_json = options.selection, options.as_json
    outcomes: list[Outcome] = []
    counts: Counter[tuple[str, str]] = Counter()
    failures: dict[str, Outcome] = {}
    interrupted, names_store = False, selection.asks_store and not as_json
    with progress("syncing") as advance:
        try:
            for outcome in sync_runs(selection, settings, jobs=jobs, executor=executor):
                is_failure = outcome.result == "failed"
                if names_store and not is_failure:  # a failure names the store itself
                    names_store = False
                    name_default_store()
                if outcome.run_id:
                    counts[kind_of(outcome)] += 1
                if as_json:
                    outcomes.append(outcome)
                elif outcome.result not in ("unchanged", LEFT_OUT):
                    print_outcome(outcome, failures.get(outcome.detail) if is_failure else None)
                if is_failure:
                    failures.setdefault(outcome.detail, outcome)
                advance(outcome.run_name)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        click.echo("interrupted: run the same command again to go on", err=True)
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    elif counts or not interrupted:
        sum_up(counts, "" if failures else _nothing(selection, settings))
    return 1 if interrupted or failures else 0


def _nothing(selection: Selection, settings: Settings) -> str:
    """Return what to print if there was no run; one that MLflow calls pending may be recorded elsewhere, or nowhere."""
    if selection.is_of_store:
        return f"no runs in {shown(default_tracking_uri())}"
    where = home(settings)
    return f"nothing to do: no run is recorded in {where}; `autoinstrument sync --all` completes all runs of MLflow"
