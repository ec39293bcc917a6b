"""`autoinstrument run`: switch the agent on for one command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

from autoinstrument.bootstrap.startup_files import are_installed, python_path
from autoinstrument.cli.examples import examples
from autoinstrument.cli.tracing import wait
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.mlflow_store.client import try_briefly
from autoinstrument.settings import read_settings

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell in these cases."""


@click.command(
    short_help="Run a command with the agent on.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("autoinstrument run -- python train.py", "autoinstrument run --check -- python train.py"),
)
@click.option("--project", default="", help="ClearML project, as AUTOINSTRUMENT_PROJECT.")
@click.option("--task", default="", help="Name of the Tasks, as AUTOINSTRUMENT_TASK.")
@click.option("--artifacts", default="", metavar="[link|upload|off]", help="As AUTOINSTRUMENT_ARTIFACTS.")
@click.option("--check", "is_check", is_flag=True, help="Run it without and with the agent, and print what differs.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome of --check as JSON.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@reports_bad_settings
def run(project: str, task: str, artifacts: str, is_check: bool, as_json: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with the agent on, as in `-- python train.py --lr 0.1`, and the programs that it starts, too.

    Nothing is printed, and this process becomes the command: its exit code and signals are the command's own. Programs
    of this environment come first (`python` is the one that this package is installed for). Exit code 127: there is no
    such command; 126: it cannot be run.

    With --check it is run three times, as it is configured: that makes three MLflow runs, and a Task of one of them.
    Streams, exit, random numbers, signal handlers, environment, files, MLflow's data and more are compared. Exit codes:
    0 no difference, 1 differences, or MLflow's runs cannot be read.
    """
    chosen = {"PROJECT": project, "TASK": task, "ARTIFACTS": artifacts}
    options = {f"AUTOINSTRUMENT_{name}": value for name, value in chosen.items() if value}
    read_settings(options)
    environ = {**os.environ, **options, "AUTOINSTRUMENT_ENABLED": "1"}
    if is_check:
        sys.exit(_check(command, environ, as_json=as_json))
    if as_json:
        raise click.UsageError("`--json` can be used with `--check` only")
    if not are_installed():
        environ["PYTHONPATH"] = python_path(environ.get("PYTHONPATH", ""))
    _become(command, environ)


def found(name: str) -> str:
    """Return the program for a command's name: that of this environment, if it has one.

    It has its full path, because Python finds its environment by the name that it was started with.
    """
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name if os.sep not in name else name


def _check(command: tuple[str, ...], environ: dict[str, str], *, as_json: bool) -> int:
    from autoinstrument.check.comparison import check
    from autoinstrument.check.words import as_words

    try_briefly()  # in this process, and not in the command
    try:
        outcome = check([found(command[0]), *command[1:]], environ)
    except FileNotFoundError:
        return _cannot_run(command[0], "there is no such command", _NOT_FOUND)
    except PermissionError as error:
        return _cannot_run(command[0], error.strerror or "", _NOT_EXECUTABLE)
    if as_json:
        report = {**outcome._asdict(), "differences": [difference._asdict() for difference in outcome.differences]}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo("\n".join(as_words(outcome)))
    return 1 if outcome.differences or outcome.problem else 0


def _become(command: tuple[str, ...], environ: dict[str, str]) -> NoReturn:
    """Replace this process by the command; on Windows, which cannot do that, wait for it and exit as it did."""
    words = [found(command[0]), *command[1:]]
    try:
        if sys.platform == "win32":  # `os.exec*` would start a second process there and exit with 0 at once
            with subprocess.Popen(words, env=environ) as process:
                sys.exit(wait(process))
        _exec(words, environ)
    except FileNotFoundError:
        problem, code = "there is no such command", _NOT_FOUND
    except OSError as error:
        problem, code = error.strerror or str(error), _NOT_EXECUTABLE
    sys.exit(_cannot_run(command[0], problem, code))


def _exec(words: list[str], environ: dict[str, str]) -> NoReturn:
    if sys.platform == "win32":
        raise NotImplementedError
    # Python ignores these two signals, and a command would inherit that.
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        os.execvpe(words[0], words, environ)  # noqa: S606  (the words are the command's; no shell)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _cannot_run(name: str, problem: str, code: int) -> int:
    click.echo(f"autoinstrument run: {name}: {problem}", err=True)
    return code
