"""`autoinstrument worker status` and `worker stop`: show and stop this user's workers on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from autoinstrument.cli.examples import examples
from autoinstrument.cli.usage_errors import Seconds
from autoinstrument.guard import visible
from autoinstrument.records import ReportRequested, ServedRun, StopRequested, WorkerReported, WorkerStopped
from autoinstrument.transport import peer, worker_query

_ANSWER_S = 10.0
_NONE = "no worker of this user runs on this machine"
_GONE = (ConnectionRefusedError, FileNotFoundError, peer.WrongUserError)


class _Found(NamedTuple):
    """A worker's report, or why there is none."""

    folder: Path
    report: WorkerReported | None
    problem: str = ""


@click.group()
def worker() -> None:
    """Show or stop the processes that send runs to ClearML.

    The training processes of a user on a machine share one, if they talk to the same servers in the same way.
    """


@worker.command(
    short_help="Show what each worker serves, what waits, and its cost.",
    epilog=examples("autoinstrument worker status"),
)
@click.option("--json", "as_json", is_flag=True, help="Print the workers as JSON.")
def status(as_json: bool) -> None:
    """Show which processes and runs each worker of this user on this machine serves, what waits, and what it costs.

    Exit code 1 if a worker does not answer.
    """
    found = list(_workers())
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in found], indent=2))
    else:
        for each in found:
            _show(each)
        if not found:
            click.echo(_NONE)
    sys.exit(1 if any(each.problem for each in found) else 0)


@worker.command(short_help="End workers when they have delivered.", epilog=examples("autoinstrument worker stop"))
@click.argument("pids", nargs=-1, type=int, metavar="[PID]...")
@click.option(
    "--timeout", type=Seconds(1, 3600), default=60.0, show_default=True, metavar="SECONDS",
    help="How long to wait for each worker.",
)  # fmt: skip
def stop(pids: tuple[int, ...], timeout: float) -> None:
    """End the workers of this user on this machine, or those with the process ids given, when they have delivered.

    Training goes on: a process that has more to send starts another worker. Exit code 1 if a worker has not ended in
    time, or could not deliver everything.
    """
    found = [each for each in _workers() if not pids or (each.report and each.report.pid in pids)]
    if unknown := set(pids).difference(each.report.pid for each in found if each.report):
        raise click.UsageError(f"no worker of this user has the process id {min(unknown)}")
    good = True
    for each in found:
        if each.report is None:
            click.echo(f"the worker in {each.folder} was not stopped: {each.problem}", err=True)
            good = False
            continue
        pid = each.report.pid
        try:
            left = worker_query.ask(each.folder, StopRequested(), WorkerStopped, timeout).left
        except (EOFError, *_GONE):
            result = "has ended; `autoinstrument status` shows what waits"
        except (OSError, ValueError) as error:
            result = f"still runs: {error}"
        else:
            runs = "1 run waits" if left == 1 else f"{left} runs wait"
            result = f"has ended; {runs} for `autoinstrument sync`" if left else ""
        good = good and not result
        click.echo(f"worker {pid} {result or 'has ended; everything is delivered'}", err=bool(result))
    if not found:
        click.echo(_NONE)
    sys.exit(0 if good else 1)


def _workers() -> Iterator[_Found]:
    for folder in dict.fromkeys((*worker_query.folders(), *_folders_of_processes())):
        try:
            yield _Found(folder, worker_query.ask(folder, ReportRequested(), WorkerReported, _ANSWER_S))
        except _GONE:
            continue
        except (EOFError, ValueError):
            yield _Found(folder, None, "it ends just now, or is of another version of autoinstrument")
        except OSError as error:
            yield _Found(folder, None, f"it does not answer ({error})")


def _folders_of_processes() -> Iterator[Path]:
    """Yield the folders that worker processes name on their command lines: a job may have had another TMPDIR."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "autoinstrument":  # as `worker.program` has named it, on Linux
            for word in process.info["cmdline"] or []:
                if Path(word).name.startswith("autoinstrument-") and Path(word, "socket").is_socket():
                    yield Path(word)


def _as_json(found: _Found) -> dict[str, object]:
    report = found.report._asdict() if found.report else {}
    return {"folder": str(found.folder), "problem": found.problem, "report": report}


def _show(found: _Found) -> None:
    report = found.report
    if report is None:
        click.echo(f"the worker in {found.folder}: {found.problem}", err=True)
        return
    waiting = sum(run["waiting_bytes"] for run in report.runs)
    unfinished = sum(run["waits"] for run in report.runs)
    click.echo(
        f"worker {report.pid} (autoinstrument {report.version}), since {_time(report.started_ms)}: "
        f"{_size(report.memory_bytes)} of memory, {report.cpu_s:.1f} s of CPU time"
    )
    if report.problem:
        click.echo(f"  ClearML: failing since {_time(report.failing_since_ms)}: {report.problem}")
    else:
        click.echo("  ClearML: no failure")
    click.echo(f"  waiting: {unfinished} of {len(report.runs)} runs, {_size(waiting)}")
    for process in report.processes:
        gone = "" if not process["is_gone"] else ", has ended"
        click.echo(visible(f"  process {process['pid']} {process['script'] or '(not described yet)'}{gone}"))
    for run in report.runs:
        click.echo(visible(f"  run {run['run_name'] or run['run_id']} in {run['experiment']}: {_state(run)}"))


def _state(run: ServedRun) -> str:
    state = "has ended" if run["has_ended"] else "is open"
    waits = f", waits ({_size(run['waiting_bytes'])})" if run["waits"] else ", is up to date"
    return f"{state}{waits}, {run['task_url'] or 'no Task yet'}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} bytes"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
