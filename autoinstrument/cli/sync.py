"""`autoinstrument sync`: complete the Tasks of runs."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import datetime
from types import FrameType

import click

from autoinstrument.clearml_api.lean_import import prepare as prepare_sdk
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.health import Health
from autoinstrument.cli.output import name_default_store, progress, table, wrapped
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.mlflow_store.internals import import_clients
from autoinstrument.mlflow_store.known_experiments import KnownExperiments
from autoinstrument.mlflow_store.left_out import LEFT_OUT
from autoinstrument.mlflow_store.registry import Registry
from autoinstrument.mlflow_store.runs import default_tracking_uri
from autoinstrument.mlflow_store.store_errors import NotFoundError, shown
from autoinstrument.settings import Settings, read_settings
from autoinstrument.sync.job_processes import JobProcesses
from autoinstrument.sync.recorded import sync as sync_runs
from autoinstrument.sync.selection import Outcome, Selection
from autoinstrument.sync.silent_runs import SilentRuns

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
_EVERY_S = 10.0
_WHOLE_S = 3600.0
"""While following, how often all runs are compared; in between, only those that have ended lately, and those of
experiments that were made, renamed, deleted or restored."""
_REGISTRY_S = 60.0
"""While following, how often the registry is read for aliases and stages that other processes have moved."""
_LATELY_S = 900.0
"""A run counts as new if it ended less than this long ago by the clock of the machine that ran it."""
_NOTHING_PENDING = "nothing to do: no run is pending"
_SLOWEST = 12
"""While a server fails, rounds become rarer, down to one in so many."""


@click.command(
    epilog=examples(
        "autoinstrument sync",
        "autoinstrument sync --all --since 2026-01-01 --jobs 4",
        "autoinstrument sync --all --follow",
    )
)
@click.option("--run", "runs", multiple=True, metavar="ID", help="This MLflow run; may be repeated.")
@click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="All runs of this experiment; may be repeated."
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All runs of all experiments of the tracking server that AUTOINSTRUMENT_EXPERIMENTS names.",
)
@click.option(
    "--since", type=click.DateTime(_FORMATS), help="Of these, only runs that began then or later (local time)."
)
@click.option(
    "--deleted", is_flag=True, help="Of these, deleted runs without a Task, too; their Tasks will be archived."
)
@click.option("--full", is_flag=True, help="Compare points, files and models even if everything else is equal.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of processes that sync runs of the store.",
)
@click.option("--dask", default="", metavar="ADDRESS", help="Spread them over this Dask cluster (extra `dask`).")
@click.option("--follow", is_flag=True, help=f"Go on until Ctrl-C, and look for new runs every {_EVERY_S:.0f} s.")
@click.option(
    "--dead-after",
    "others_after_s",
    type=click.FloatRange(min=5),
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
def sync(
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    everything: bool,
    since: datetime | None,
    deleted: bool,
    full: bool,
    jobs: int,
    dask: str,
    follow: bool,
    others_after_s: float | None,
    health: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Complete the Tasks of runs that had no ClearML server, or whose process was killed.

    Without a selection: the runs that were recorded on this machine (AUTOINSTRUMENT_HOME). With one: any runs of the
    tracking server (MLFLOW_TRACKING_URI), also those from before the agent was installed, and later changes of runs.

    A run that is still being trained is left alone. Running it twice changes nothing; an interrupted sync can be
    repeated.

    Exit codes: 0 everything is delivered, 1 something is not (the reason is printed), 2 wrong usage.
    """
    settings = read_settings()
    if everything and (experiments or runs):
        raise click.UsageError("`--all` selects all runs: it cannot be combined with `--experiment` or `--run`")
    if (since or deleted) and not (everything or experiments):
        raise click.UsageError("`--since` and `--deleted` need `--all` or `--experiment`")
    if follow and dry_run:
        raise click.UsageError("`--follow` and `--dry-run` cannot be combined")
    for option, value in (("--dead-after", others_after_s), ("--health", health)):
        if value and not follow:
            raise click.UsageError(f"`{option}` can be used with `--follow` only")
    since_ms = int(since.timestamp() * 1000) if since else 0
    selection = Selection(
        runs=runs, experiments=experiments, everything=everything, since_ms=since_ms,
        deleted=deleted, full=full, dry_run=dry_run,
    )  # fmt: skip
    if not dask:
        prepare_sdk()
    with _cluster(dask) if dask else _processes(jobs) as (executor, jobs):
        try:
            if follow:
                silent = SilentRuns(
                    Tasks(Session()), settings, experiments=experiments, others_after_s=others_after_s or math.inf
                )
                state = Health()
                with state.served(health):
                    code = _follow(selection, settings, jobs, executor, silent, state, as_json=as_json)
            else:
                code = _once(selection, settings, jobs, executor, as_json=as_json)
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
        raise click.UsageError("`--dask` needs the extra `dask`: run `pip install autoinstrument[dask]`") from None
    try:
        client = distributed.Client(address)
    except (OSError, ValueError) as error:
        raise click.UsageError(
            f"no Dask cluster answers at {address} ({type(error).__name__}): check the address"
        ) from None
    with client:
        yield client.get_executor(), sum(client.nthreads().values()) or 1


def _once(selection: Selection, settings: Settings, jobs: int, executor: Executor | None, *, as_json: bool) -> int:
    """Sync once, print the outcome of each run and a summary, and return the exit code."""
    outcomes: list[Outcome] = []
    if (selection.runs or selection.is_of_store) and not as_json:
        name_default_store()
    counts: Counter[tuple[str, str]] = Counter()
    interrupted = False
    with progress("syncing") as advance:
        try:
            for outcome in sync_runs(selection, settings, jobs=jobs, executor=executor):
                counts[_kind(outcome)] += 1
                if as_json:
                    outcomes.append(outcome)
                elif outcome.result not in ("unchanged", LEFT_OUT):
                    _print(outcome)
                advance(outcome.run_name)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        click.echo("interrupted: run the same command again to go on", err=True)
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    elif counts or not interrupted:
        _sum_up(counts, f"no runs in {shown(default_tracking_uri())}" if selection.is_of_store else _NOTHING_PENDING)
    return 1 if interrupted or any(result == "failed" for result, _ in counts) else 0


def _follow(
    selection: Selection,
    settings: Settings,
    jobs: int,
    executor: Executor | None,
    silent: SilentRuns,
    health: Health,
    *,
    as_json: bool,
) -> int:
    """Sync repeatedly until SIGINT or SIGTERM; print news of each run, and a summary at the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    last: dict[str, Outcome] = {}
    counts: Counter[tuple[str, str]] = Counter()
    whole_at, pause, known = 0.0, 1, KnownExperiments()
    registry = Registry(keep_s=_REGISTRY_S)
    if not as_json:
        click.echo("following; Ctrl-C ends it", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            is_whole = time.monotonic() >= whole_at
            round_of = selection._replace(known=known)
            known.begin_round()
            if is_whole:
                whole_at = time.monotonic() + _WHOLE_S
            else:
                round_of = round_of._replace(ended_since_ms=int((time.time() - _LATELY_S) * 1000), full=False)
            has_failed = False
            found = sync_runs(round_of, settings, jobs=jobs, executor=executor, registry=registry)
            for outcome in silent.beside(found):
                health.note(outcome)
                has_failed = has_failed or outcome.result == "failed"
                if outcome.result in ("unchanged", "running", LEFT_OUT):
                    last.pop(outcome.run_id, None)
                elif last.get(outcome.run_id) != outcome:
                    click.echo(json.dumps(outcome._asdict())) if as_json else _print(outcome)
                    if outcome.result == "failed":
                        last[outcome.run_id] = outcome
                    else:
                        last.pop(outcome.run_id, None)
                        counts[_kind(outcome)] += 1
            if has_failed and (is_whole or known.have_changed):
                whole_at = 0.0
            health.end_round(has_failed=has_failed)
            pause = min(2 * pause, _SLOWEST) if has_failed else 1
            time.sleep(_EVERY_S * pause)
    counts.update(_kind(outcome) for outcome in last.values())
    if not as_json:
        _sum_up(counts, "nothing to do")
    return 1 if last else 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _kind(outcome: Outcome) -> tuple[str, str]:
    """Return the key by which outcomes are counted: the result, and the reason of a failure or omission."""
    return outcome.result, outcome.detail if outcome.result in ("failed", LEFT_OUT) else ""


def _print(outcome: Outcome) -> None:
    name = outcome.run_name or outcome.run_id
    line = f"{name}: {outcome.result} {outcome.detail}".rstrip() if name else f"{outcome.result}: {outcome.detail}"
    click.echo(wrapped(line))
    sys.stdout.flush()


def _sum_up(counts: Counter[tuple[str, str]], nothing: str) -> None:
    if not counts:
        click.echo(nothing)
        return
    rows = [(result, count, reason) for (result, reason), count in sorted(counts.items())]
    has_reasons = any(reason for _, _, reason in rows)
    table(["result", "runs", "reason"] if has_reasons else ["result", "runs"], [row[: 2 + has_reasons] for row in rows])
