"""The command line; one module a command."""

from __future__ import annotations

import os

import click

from autoinstrument import __version__
from autoinstrument.cli.remote import remote
from autoinstrument.cli.run import run
from autoinstrument.cli.sync import sync
from autoinstrument.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autoinstrument")
def main() -> None:
    """Give every MLflow run a linked ClearML Task.

    Exit codes: 0 done, 1 a difference or a problem was found, 2 wrong usage.
    """
    os.environ.pop("AUTOINSTRUMENT_ENABLED", None)  # what a command does with MLflow is not a training to be mirrored


main.add_command(remote)
main.add_command(run)
main.add_command(sync)
main.add_command(verify)
