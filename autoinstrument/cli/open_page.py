"""`autoinstrument open`: open the page of a run's Task, or of the run itself."""

from __future__ import annotations

import os
import sys
import webbrowser

import click

from autoinstrument.cli.examples import examples
from autoinstrument.cli.run_rows import MOST_ROWS, chosen, listed_rows
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.guard import visible
from autoinstrument.settings import read_settings


@click.command(
    "open",
    short_help="Open the page of a run's Task.",
    epilog=examples("autoinstrument open", "autoinstrument open 3f2a91c0 --mlflow", "autoinstrument open --print"),
)
@click.argument("run", default="", metavar="[RUN]")
@click.option("--mlflow", "of_mlflow", is_flag=True, help="Open the run's page in MLflow in place of the Task's.")
@click.option("--print", "only_print", is_flag=True, help="Only print the address.")
@reports_bad_settings
def open_page(run: str, of_mlflow: bool, only_print: bool) -> None:
    """Print the address of RUN's Task, and open it in a browser, if there is one.

    RUN is the id of a run or of its Task, the first characters of one as `status` shows them, or the name of a run; by
    default the run that began last. The latest thousand runs are searched. Exit code 1 if there is no such page.
    """
    rows, problem = listed_rows(read_settings(), limit=MOST_ROWS if run else 1)
    row = chosen(rows, run, problem)
    address = row.run_url if of_mlflow else row.task_url
    if not address:
        where = f"its store has no pages ({row.run_id})" if of_mlflow else row.pending or "it has no Task"
        raise click.ClickException(visible(f"{row.run_name or row.run_id}: {where}"))
    click.echo(visible(address))
    if not only_print and _has_browser() and address.startswith(("http://", "https://")):  # anybody may set the tag
        webbrowser.open(address)


def _has_browser() -> bool:
    """Return False on a machine without a screen, where a browser would take over the terminal."""
    screens = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)
