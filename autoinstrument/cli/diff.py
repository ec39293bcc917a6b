"""`autoinstrument diff`: what differs between two runs."""

from __future__ import annotations

import difflib
import json
import sys
from itertools import groupby

import click

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.named_run import named_run
from autoinstrument.cli.output import table
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.guard import visible
from autoinstrument.sync.run_diff import Deviation, compare_runs

_MOST_LINES = 200
"""Lines of a difference of two texts that are shown."""


@click.command(
    short_help="Compare two runs, with their code and packages.",
    epilog=examples("autoinstrument diff 3f2a91c0 77c1b0de", "autoinstrument diff baseline candidate --json"),
)
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@reports_bad_settings
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two runs: parameters, arguments, last metrics, tags, code, packages and container.

    FIRST and SECOND are ids of runs or of their Tasks, the first characters of one, or names of runs. Arguments, code,
    packages and container are those of the Tasks. Exit codes: 0 no difference, 1 differences, or a server does not
    answer.
    """
    try:
        one, other = named_run(first), named_run(second)
        found, without = compare_runs(one, other, Tasks(Session()))
    except ClearMLError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps([deviation._asdict() for deviation in found], indent=2))
    else:
        _show(found, *(visible(run.run.run_name or run.run.run_id) for run in (one, other)))
    for name in without:
        click.echo(f"{visible(name)} has no Task: arguments, code and packages are not compared", err=True)
    sys.exit(1 if found else 0)


def _show(found: list[Deviation], first: str, second: str) -> None:
    """Print a table for each section, and then the differences of texts of several lines."""
    if not found:
        click.echo("no difference")
    short = [deviation for deviation in found if not _is_long(deviation)]
    for section, members in groupby(short, key=lambda deviation: deviation.section):
        cells = [(one.name, *("-" if text is None else text for text in (one.first, one.second))) for one in members]
        table([section, first, second], cells, shortened=(section, first, second))
        click.echo()
    for deviation in filter(_is_long, found):
        click.echo(visible(f"{deviation.section}: {deviation.name}"))
        texts = [(text or "").splitlines() for text in (deviation.first, deviation.second)]
        lines = list(difflib.unified_diff(texts[0], texts[1], first, second, lineterm="", n=1))
        for line in lines[:_MOST_LINES]:
            click.echo(visible(f"  {line}".expandtabs(4)))
        if len(lines) > _MOST_LINES:
            click.echo(f"  and {len(lines) - _MOST_LINES} more lines: `--json` has all")


def _is_long(deviation: Deviation) -> bool:
    return any("\n" in (text or "") for text in (deviation.first, deviation.second))
