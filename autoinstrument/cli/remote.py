"""`autoinstrument remote`: make a Task from a command line without running it, and queue it for a ClearML agent."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from typing import Any

import click

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.queues import Queues
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.cli.examples import examples
from autoinstrument.cli.named_run import named_task
from autoinstrument.cli.output import wrapped
from autoinstrument.cli.remote_console import follow
from autoinstrument.cli.remote_task import Draft, Wanted, changed_clone, create, new_task
from autoinstrument.cli.usage_errors import reports_bad_settings
from autoinstrument.clone_run.origin import values_of
from autoinstrument.clone_run.task_content import CHANGES, SOURCE, code_fields, container_fields, package_versions
from autoinstrument.settings import read_settings

_INTERRUPTED = 130


@click.command(
    short_help="Queue a command for a ClearML agent.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples(
        "autoinstrument remote --queue default -- python train.py --lr 0.1",
        "autoinstrument remote --queue gpu --wait -- python -m package.train",
        "autoinstrument remote --queue gpu --container python:3.11 -- explore.ipynb",
        "autoinstrument remote --repo git@host:x.git --branch dev --script train.py",
        "autoinstrument remote --queue gpu --base-task bold-ant --args lr=0.3",
    ),
)
@click.option("--queue", default="", help="Name of the queue, created if it does not exist; else the Task is a draft.")
@click.option(
    "--project", default="", help="ClearML project; by default the name of the experiment, else of the script."
)
@click.option("--name", default="", help="Name of the Task; by default the name of the script.")
@click.option("--tag", "tags", multiple=True, help="Tag of the Task; may be repeated.")
@click.option("--repo", default="", help="Repository to run, in place of this folder.")
@click.option("--branch", default="", help="Branch or tag of `--repo`; by default its default branch.")
@click.option("--commit", default="", help="Commit of `--repo`; by default the newest one of the branch.")
@click.option("--cwd", default="", help="Working folder of the program, relative to the repository or to this folder.")
@click.option("--script", default="", help="Script or notebook to run, in place of COMMAND.")
@click.option("--args", multiple=True, help="Arguments by name, as in `lr=0.1 data='a b'`; may be repeated.")
@click.option("--requirements", default="", help="Requirements file; by default `requirements.txt`.")
@click.option("--packages", multiple=True, help="Packages, as in `numpy torch>=2`; may be repeated.")
@click.option("--container", default="", help="Image of the container in which the agent runs the Task.")
@click.option("--docker-args", default="", help="Arguments of `docker run`.")
@click.option("--base-task", default="", help="Queue a clone of this run or Task, with changes, in place of COMMAND.")
@click.option("--dry-run", is_flag=True, help="Print the Task; create nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print all fields of the Task as JSON.")
@click.option("--wait", is_flag=True, help="Print the console as it comes, and exit with the program's exit code.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@reports_bad_settings
def remote(
    queue: str, base_task: str, script: str, dry_run: bool, as_json: bool, wait: bool, command: tuple[str, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Queue COMMAND, as in `-- python train.py --lr 0.1` or `-- python -m package.train`, for a ClearML agent.

    The Task gets the code of this folder with all that is not committed or not pushed, the arguments, and the packages
    of `requirements.txt`, or all installed packages if there is no such file. A notebook (`-- explore.ipynb`) runs as a
    script of its cells. Arguments by name (--args) are given to the parser of the script. The command is not run here.
    """
    _check(queue, base_task, script, dry_run, as_json, wait, command, options)
    settings = read_settings()
    wanted = Wanted(command=("python", script) if script else command, **options)
    session = Session()
    tasks, queues = Tasks(session), Queues(session)
    report = functools.partial(click.echo, err=True)
    try:
        if base_task:
            draft = changed_clone(wanted, named_task(base_task, tasks), wanted.project)
        else:
            draft = new_task(wanted, settings, tasks, lambda line: report(wrapped(line)))
        if dry_run:
            _show(draft, queue, as_json)
            return
        task = create(draft, tasks)
        queue_id = queues.queued(tasks, task, queue)[1] if queue else ""
    except ClearMLError as error:
        report(f"nothing was {'queued' if queue else 'created'}: {error}")
        sys.exit(1)
    place = f"is in queue {queue}" if queue else "is a draft"
    click.echo(f"{task.id} {place}: {task.url}", err=wait)
    if queue:
        with contextlib.suppress(ClearMLError):  # it is queued
            if not queues.has_agent(queue_id):  # ClearML makes a queue of any name, a misspelt one, too
                report(f"no agent serves the queue {queue} now: the Task waits for one")
    if wait:
        sys.exit(_followed(task, tasks))


def _followed(task: Task, tasks: Tasks) -> int:
    report = functools.partial(click.echo, err=True)
    try:
        return follow(tasks, task.id, functools.partial(click.echo, nl=False), report)
    except KeyboardInterrupt:
        report(f"the Task goes on: abort it in ClearML if it must not ({task.url})")
        return _INTERRUPTED
    except ClearMLError as error:
        report(f"the Task goes on, but cannot be followed: {error}")
        return 1


def _check(
    queue: str, base_task: str, script: str, dry_run: bool, as_json: bool, wait: bool, command: tuple[str, ...],
    options: dict[str, Any],
) -> None:  # fmt: skip
    """Raise `click.UsageError` for options that cannot be combined."""
    if script and command:
        raise click.UsageError("give `--script` or a command, not both; arguments of `--script` are given by `--args`")
    if base_task and (script or command):
        raise click.UsageError("`--base-task` has its own program: change its arguments by `--args`")
    if not base_task and not script and not command:
        raise click.UsageError("nothing to queue: give a command (`-- python train.py`), `--script` or `--base-task`")
    code = [name for name in ("repo", "branch", "commit", "cwd") if options[name]]
    if base_task and code:
        raise click.UsageError(f"`--base-task` has its own code: it cannot be combined with `--{code[0]}`")
    if not options["repo"] and (options["branch"] or options["commit"]):
        raise click.UsageError("`--branch` and `--commit` need `--repo`")
    if wait and (dry_run or not queue):
        raise click.UsageError("`--wait` needs `--queue`, and cannot be combined with `--dry-run`")
    if as_json and not dry_run:
        raise click.UsageError("`--json` can be used with `--dry-run` only")


def _show(draft: Draft, queue: str, as_json: bool) -> None:
    """Print what would be created."""
    if as_json:
        place = {"project": draft.project, "queue": queue, **({"base": draft.base} if draft.base else {})}
        click.echo(json.dumps({**place, **draft.fields}, indent=2))
        return
    code = code_fields(draft.fields)
    texts = {name: len(code.pop(name).splitlines()) for name in (CHANGES, SOURCE) if name in code}
    sections = values_of(draft.fields)
    given = {
        f"{section}/{name}": value for section in ("Args", "Hydra") for name, value in sections.get(section, {}).items()
    }
    rows = {
        "project": draft.project or "as the base Task",
        "name": draft.fields["name"],
        "tags": ", ".join(draft.fields["tags"]),
        "queue": queue or "none: a draft",
        "base Task": draft.base,
        **code,
        **{name: f"{lines} lines" for name, lines in texts.items()},
        **given,
        **{f"container {name}": text for name, text in container_fields(draft.fields).items()},
        "packages": ", ".join(f"{name} {version}" for name, version in package_versions(draft.fields).items()),
    }
    width = max(map(len, rows)) + 2
    for name, text in rows.items():
        if text:
            click.echo(wrapped(f"{name.ljust(width)}{text}", " " * width))
