"""The command line; one module per command."""

from __future__ import annotations

import io
import os
import sys

import click

from autoinstrument._version import __version__
from autoinstrument.cli.completion import completion
from autoinstrument.cli.diff import diff
from autoinstrument.cli.doctor import doctor
from autoinstrument.cli.explain import explain
from autoinstrument.cli.install import install, uninstall
from autoinstrument.cli.open_page import open_page
from autoinstrument.cli.remote import remote
from autoinstrument.cli.reproduce import reproduce
from autoinstrument.cli.run import run
from autoinstrument.cli.status import status
from autoinstrument.cli.sync import sync
from autoinstrument.cli.verify import verify
from autoinstrument.cli.worker import worker
from autoinstrument.mlflow_store.client import try_briefly


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autoinstrument")
@click.pass_context
def main(context: click.Context) -> None:
    """Give every MLflow run a linked ClearML Task.

    Exit codes: 0 done, 1 a difference or a problem was found, 2 wrong usage.
    """
    for stream in (sys.stdout, sys.stderr):  # names of runs and files may not fit the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A command's own calls to MLflow must not be mirrored; `doctor` and `explain` get the switch as it was.
    context.obj = os.environ.pop("AUTOINSTRUMENT_ENABLED", None)
    if context.invoked_subcommand not in ("explain", "run"):  # these two start commands, which inherit the environment
        try_briefly()


main.add_command(completion)
main.add_command(diff)
main.add_command(doctor)
main.add_command(explain)
main.add_command(install)
main.add_command(open_page)
main.add_command(remote)
main.add_command(reproduce)
main.add_command(run)
main.add_command(status)
main.add_command(sync)
main.add_command(uninstall)
main.add_command(verify)
main.add_command(worker)
