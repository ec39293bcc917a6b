"""`autoinstrument remote`: make a Task from a command line without running it, and queue it for a ClearML agent."""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from pathlib import Path

import click

from autoinstrument.capture.queued_process import queued_process
from autoinstrument.capture.requirements import to_install
from autoinstrument.capture.script_section import script_of
from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.queues import Queues
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.clone_run.settings import OBJECT, written
from autoinstrument.integrations.parsed_arguments import command_line
from autoinstrument.mirror.kinds.environment import arguments
from autoinstrument.mirror.mapping.hyperparameters import sections
from autoinstrument.mirror.mapping.links import TAG
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.records import ProcessStarted
from autoinstrument.scrubber import MASK, without_credentials
from autoinstrument.settings import read_settings


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples("autoinstrument remote --queue default -- python train.py --lr 0.1"),
)
@click.option("--queue", required=True, help="Name of the queue; it is created if it does not exist.")
@click.option(
    "--project", default="", help="ClearML project; by default the name of the experiment, else of the script."
)
@click.option("--name", default="", help="Name of the Task; by default the name of the script.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@reports_bad_settings
def remote(queue: str, project: str, name: str, command: tuple[str, ...]) -> None:
    """Queue COMMAND, as in `-- python train.py --lr 0.1` or `-- python -m package.train`, for a ClearML agent.

    The Task gets the code of this folder, the arguments, and the packages of `requirements.txt`, or all installed
    packages if there is no such file. The command is not run here.
    """
    settings = read_settings()
    process = _described(command)
    program = process.main_module or Path(process.main_path).stem
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
    text = written(settings, without_credentials(os.environ.get("MLFLOW_TRACKING_URI", "")), experiment)
    given, warn = Path("requirements.txt"), functools.partial(click.echo, err=True)
    requirements = to_install(
        given.read_text(encoding="utf-8") if given.is_file() else None, process.sys_path, process.python, warn
    )
    session = Session()
    tasks = Tasks(session)
    script = script_of(process, tasks.capture_settings, warn)
    try:
        task, _ = Queues(session).create_queued(
            tasks,
            queue,
            project or acceptable(experiment or program),
            {
                "name": acceptable(name or program),
                "type": "training",
                "tags": [TAG],
                "script": {**script._asdict(), "requirements": {"pip": requirements}},
                "hyperparams": sections(arguments(process.arguments, {})),
                "configuration": {OBJECT: {"name": OBJECT, "value": text, "type": "text"}},
            },
        )
    except ClearMLError as error:
        click.echo(f"nothing was queued: {error}", err=True)
        sys.exit(1)
    click.echo(f"{task.id} is in queue {queue}: {task.url}")


def _described(command: tuple[str, ...]) -> ProcessStarted:
    """Return the description of the process that the command would start."""
    words = list(command)
    if re.fullmatch(r"python[\d.]*(\.exe)?", Path(words[0]).name):
        del words[0]
    if not words or (words[0].startswith("-") and words[0] != "-m") or words == ["-m"]:
        raise click.UsageError("expected a script or `-m module`, as in: -- python train.py --lr 0.1")
    module = words[1] if words[0] == "-m" else ""
    arguments = words[2:] if module else words[1:]
    path = _module_file(module) if module else Path(words[0]).absolute()
    if path is None or not path.is_file():
        if not module and shutil.which(words[0]):
            raise click.UsageError(
                f"an agent starts Python, not {words[0]}: give the script or module that {words[0]} starts, "
                "as in: -- python -m package.train"
            )
        raise click.UsageError(f"there is no {module or words[0]} in this folder")
    line = command_line(arguments)
    if MASK in line:
        raise click.UsageError(
            "the command line holds a secret, which must not travel: leave it out, and set it on the agent's machine"
        )
    return queued_process(
        "module" if module else "script", folder=Path.cwd(), line=line, path=str(path), module=module,
        sys_path=[str(Path.cwd()), *sys.path],
    )  # fmt: skip


def _module_file(module: str) -> Path | None:
    """Return the file that `-m` would run; nothing is imported to find it."""
    base = Path.cwd().joinpath(*module.split("."))
    files = (base.with_name(f"{base.name}.py"), base / "__main__.py")
    return next((file for file in files if file.is_file()), None)
