"""`autoinstrument verify`: compare runs with their Tasks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

import click

from autoinstrument.clearml_api.errors import ClearMLError, InternalError, RefusedError, TooLargeError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.output import name_default_store, progress, wrapped
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.experiment_patterns import VARIABLE
from autoinstrument.guard import visible
from autoinstrument.mirror.kinds.kind import Difference
from autoinstrument.mlflow_store.left_out import is_left_out
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.runs import StoredRun, default_tracking_uri, find_run, find_runs
from autoinstrument.mlflow_store.store_errors import is_of_store, problem_of, shown
from autoinstrument.settings import Settings, read_settings
from autoinstrument.sync.verify import differences

_MAKE_TASKS = "autoinstrument sync --all"


class _Report(NamedTuple):
    """The report on one run; with an empty id, on all of them, because a server does not answer."""

    run_id: str
    run_name: str
    differences: list[Difference]
    problem: str
    has_task: bool = True
    is_left_out: bool = False
    left_open: str = ""
    """Why nothing will end the run in MLflow, with the remedy. The Task is right, so that this is not a difference."""

    @property
    def repair(self) -> str:
        return f"autoinstrument sync --full --run {self.run_id}" if self.differences else ""


@click.command(
    short_help="Compare runs with their Tasks.",
    help=f"""Compare MLflow runs with their Tasks, and print each difference with the command that repairs it.

RUN are run ids; without any, all runs of the tracking server that have ended are compared. Those without the tag
{TASK_ID} are counted, and `{_MAKE_TASKS}` makes their Tasks; those that AUTOINSTRUMENT_EXPERIMENTS
leaves out are counted, too, and are no difference.

It compares params, tags, every point of every metric, single values, artifacts and their hashes, plots of figures,
models, data sets, the number of traces, status, name, note, links.

Exit codes: 0 no difference, 1 differences, runs without a Task, or a missing run or server, 2 wrong usage.
""",
    epilog=examples("autoinstrument verify", "autoinstrument verify 3f2a91c0b4d84f0e9a6f5c2d1e7b8a90"),
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@reports_bad_settings
def verify(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare runs with their Tasks."""
    settings = read_settings()
    different: list[_Report] = []
    problems: list[_Report] = []
    without_task: list[str] = []
    left_out: list[str] = []
    left_open: list[_Report] = []
    same = 0
    with progress("comparing", len(runs) or None) as advance:
        for report in _compared(runs, settings):
            if report.problem:
                problems.append(report)
            elif report.is_left_out:
                left_out.append(report.run_id)
            elif not report.has_task:
                without_task.append(report.run_id)
            elif report.differences:
                different.append(report)
            else:
                same += 1
            if report.left_open:
                left_open.append(report)
            if not as_json:
                _print(report)
            advance(report.run_name)
    if as_json:
        summary = {
            "same": same,
            "different": _as_json(different),
            "problems": _as_problems(problems),
            "left_open": [{"run_id": report.run_id, "remedy": report.left_open} for report in left_open],
            "without_task": {"runs": without_task, "repair": _MAKE_TASKS if without_task else ""},
            "left_out": left_out,
        }
        click.echo(json.dumps(summary, indent=2))
    elif same or different or without_task or left_out:
        name_default_store()
        rest = f", {len(without_task)} without a Task: `{_MAKE_TASKS}` makes them" if without_task else ""
        rest += f", {len(left_out)} left out by {VARIABLE}" if left_out else ""
        click.echo(f"{same} the same, {len(different)} different{rest}")
    elif not problems:
        click.echo(f"nothing to compare: no run has ended in {shown(default_tracking_uri())}")
    sys.exit(1 if different or problems or without_task else 0)


def _compared(runs: tuple[str, ...], settings: Settings) -> Iterator[_Report]:
    """Yield the differences of each run; ends if ClearML, or MLflow's search, does not answer."""
    tasks = Tasks(Session())
    for run_id, found in _chosen(runs):
        if not isinstance(found, StoredRun):
            yield _Report(run_id, "", [], problem_of(found))
            continue
        run = found.run
        if not runs and found.has_ended and TASK_ID not in run.tags:
            left_out = is_left_out(run, settings.experiments)
            yield _Report(run_id, run.run_name, [], "", has_task=False, is_left_out=left_out)
            continue
        try:
            differing = list(differences(found, settings, tasks))
            yield _Report(run_id, run.run_name, differing, "", left_open=found.left_open)
        except (InternalError, RefusedError, TooLargeError) as error:
            yield _Report(run_id, run.run_name, [], str(error))
        except ClearMLError as error:
            yield _Report("", "", [], str(error))
            return
        except Exception as error:  # MLflow's store raises any exception of its driver
            yield _Report(run_id, run.run_name, [], problem_of(error))


def _chosen(runs: tuple[str, ...]) -> Iterator[tuple[str, StoredRun | Exception]]:
    """Yield ids and runs, or the error instead of the run; an empty id if the store cannot be searched."""
    for run_id in dict.fromkeys(runs):
        try:
            yield run_id, find_run(run_id)
        except Exception as error:  # as above
            if is_of_store(error):
                yield "", error
                return
            yield run_id, error
    if not runs:
        try:
            for stored in find_runs():
                if stored.has_ended or stored.left_open:
                    yield stored.run.run_id, stored
        except Exception as error:  # as above
            yield "", error


def _print(report: _Report) -> None:
    name = visible(report.run_name or report.run_id)
    if problem := report.problem or report.left_open:
        click.echo(f"{name}: {problem}" if name else problem, err=True)
    if report.differences:
        click.echo(f"{name}: differs")
        for difference in report.differences:
            click.echo(wrapped(f"  {difference.what}: {difference.detail}", " " * 4))
        click.echo(f"  repair: {report.repair}")


def _as_json(different: list[_Report]) -> list[dict[str, object]]:
    return [
        {
            "run_id": report.run_id,
            "run_name": report.run_name,
            "differences": [difference._asdict() for difference in report.differences],
            "repair": report.repair,
        }
        for report in different
    ]


def _as_problems(problems: list[_Report]) -> list[dict[str, object]]:
    return [{"run_id": report.run_id, "run_name": report.run_name, "problem": report.problem} for report in problems]
