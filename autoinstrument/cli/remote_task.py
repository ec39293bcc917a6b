"""The Task that `remote` queues: of a program, or a clone of a Task with changes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from autoinstrument.capture.bundle import unpacked
from autoinstrument.capture.checkout import Checkout
from autoinstrument.capture.code import module_started_in
from autoinstrument.capture.lock_files import lock_files_without_this_package
from autoinstrument.capture.requirements import to_install
from autoinstrument.capture.requirements_file import requirement_lines
from autoinstrument.capture.script_section import script_of
from autoinstrument.clearml_api.task import Task
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.cli.remote_program import described, split
from autoinstrument.clone_run.origin import values_of
from autoinstrument.clone_run.settings import OBJECT, written
from autoinstrument.clone_run.task_content import requirements_of
from autoinstrument.integrations.parsed_arguments import HYDRA
from autoinstrument.mirror.kinds.environment import ARGUMENTS, arguments
from autoinstrument.mirror.mapping.hyperparameters import hyperparameter, sections
from autoinstrument.mirror.mapping.links import TAG
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.records import ProcessStarted
from autoinstrument.reproduction.git_clone import CloneError, clone
from autoinstrument.scrubber import hide_in_arguments, hide_named, without_credentials
from autoinstrument.settings import Settings

Warn = Callable[[str], object]
_FILE = "requirements.txt"


class Wanted(NamedTuple):
    """The options of the command; "" and empty lists stand for options that are not given."""

    project: str
    name: str
    tags: Sequence[str]
    repo: str
    branch: str
    commit: str
    cwd: str
    command: Sequence[str]
    args: Sequence[str]
    requirements: str
    packages: Sequence[str]
    container: str
    docker_args: str


class Draft(NamedTuple):
    """A Task that does not exist yet.

    Attributes:
        project: name of its project.
        fields: its other fields, as `tasks.create` takes them.
        base: id of the Task that it is a clone of, "" for none.
    """

    project: str
    fields: dict[str, Any]
    base: str = ""


def new_task(wanted: Wanted, settings: Settings, tasks: Tasks, warn: Warn) -> Draft:
    """Return the Task of a program, with the code of this folder, or of the repository that the options name.

    Raises:
        click.ClickException: the options ask for something that cannot be done.
    """
    with tempfile.TemporaryDirectory(prefix="autoinstrument-") as temporary:
        folder = Path.cwd()
        if wanted.repo:
            folder = Path(temporary, "code")
            try:
                clone(wanted.repo, folder, commit=wanted.commit, branch=wanted.branch)
            except CloneError as error:
                raise click.ClickException(f"{without_credentials(wanted.repo)} cannot be cloned: {error}") from None
        root, folder = folder, folder / wanted.cwd
        if not folder.is_dir():
            raise click.UsageError(f"there is no folder {wanted.cwd}")
        process = described(wanted.command, folder)
        if not wanted.repo:
            checkout = Checkout.of(folder)
            root = checkout.root if checkout else folder
        script = script_of(process, tasks.capture_settings, warn, folder=root)._asdict()
        start = module_started_in(process, script)
        if wanted.repo:
            script["branch"] = wanted.branch
        if several := unpacked(script["diff"]):
            warn(f"the Task holds {len(several.files)} files of this folder: `--dry-run --json` shows them")
        packages = to_install(
            _requirements(wanted, folder, root), process.sys_path, process.python, warn,
            comments=lock_files_without_this_package(root),
        )  # fmt: skip
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
    program = process.main_module or Path(process.main_path).stem
    uri = without_credentials(os.environ.get("MLFLOW_TRACKING_URI", ""))
    text = written(settings, uri, experiment, start_folder=start)
    fields = {
        "name": acceptable(wanted.name or program),
        "type": "training",
        "tags": [TAG, *wanted.tags],
        "script": {**script, "requirements": {"pip": packages, "conda": ""}},
        "hyperparams": sections(_arguments(wanted, process)),
        "configuration": {OBJECT: {"name": OBJECT, "value": text, "type": "text"}},
    }
    if container := _container(wanted, {}):
        fields["container"] = container
    return Draft(wanted.project or acceptable(experiment or program), fields)


def changed_clone(wanted: Wanted, base: Mapping[str, Any], project: str) -> Draft:
    """Return a clone of a Task with the arguments, packages and container that the options name.

    Args:
        wanted: the options.
        base: the Task.
        project: name of the clone's project, "" for that of the Task.

    Raises:
        click.ClickException: the options ask for something that cannot be done.
    """
    items = _named(wanted.args)
    held = values_of(base).get(ARGUMENTS, {})
    if list(held) == ["argv"] and any(item["section"] == ARGUMENTS and item["name"] != "argv" for item in items):
        raise click.UsageError(
            "no parser has read the arguments of this Task by name: give all, as --args \"argv='…'\""
        )
    hyperparams = {name: dict(section) for name, section in (base.get("hyperparams") or {}).items()}
    for item in items:
        hyperparams.setdefault(item["section"], {})[item["name"]] = item
    script = dict(base.get("script") or {})
    if wanted.requirements or wanted.packages:
        text = to_install(_requirements(wanted, Path.cwd(), Path.cwd()), sys.path, "")
        script["requirements"] = {"pip": text, "conda": ""}
    elif asked := requirements_of(base):  # not the packages that an agent has installed for it
        script["requirements"] = {**(script.get("requirements") or {}), "pip": asked}
    fields = {
        "name": acceptable(wanted.name or f"Clone of {base.get('name')}"),
        "tags": list(dict.fromkeys([*(base.get("tags") or []), *wanted.tags])),
        "script": script,
        "hyperparams": hyperparams,
    }
    if container := _container(wanted, base.get("container") or {}):
        fields["container"] = container
    return Draft(project, fields, str(base["id"]))


def create(draft: Draft, tasks: Tasks) -> Task:
    """Create the Task.

    Raises:
        ClearMLError: the server refuses, or does not answer.
    """
    if not draft.base:
        return tasks.create(draft.project, draft.fields)
    task = tasks.clone(draft.base, draft.project, draft.fields["name"], draft.fields["tags"])
    changed = {name: value for name, value in draft.fields.items() if name not in ("name", "tags")}
    try:
        tasks.edit(task, **changed)
    except BaseException:
        tasks.delete(task)
        raise
    return task


def _arguments(wanted: Wanted, process: ProcessStarted) -> list[dict[str, str]]:
    items = _named(wanted.args)
    if items and process.arguments:
        raise click.UsageError("give the arguments behind the program, or by `--args`, not both")
    return items or arguments(process.arguments, {})


def _named(values: Sequence[str]) -> list[dict[str, str]]:
    """Return arguments of the form `name=value`, and Hydra's overrides, as in `Hydra/optimizer.lr=0.1`."""
    items = []
    for word in split(values):
        name, equals, value = word.partition("=")
        is_override = name.startswith(HYDRA)
        section, below = (HYDRA[:-1], name.removeprefix(HYDRA)) if is_override else (ARGUMENTS, name.lstrip("-"))
        if not equals or not below:
            raise click.UsageError(f"`--args` takes NAME=VALUE, not {word!r}")
        if hide_named(below, value) != value:
            raise click.UsageError(
                f"the argument {below} is a secret, which must not travel: set it on the agent's machine"
            )
        items.append(hyperparameter(section, below, value))
    return items


def _requirements(wanted: Wanted, folder: Path, root: Path) -> str | None:
    """Return the packages that the options name, else those of `requirements.txt`; None if there is no such file."""
    files = [Path(wanted.requirements)] if wanted.requirements else []
    if not files and not wanted.packages:
        files = [file for file in (folder / _FILE, root / _FILE) if file.is_file()][:1]
        if not files:
            return None
    lines = split(wanted.packages)
    for file in files:
        try:
            lines += requirement_lines(file.read_text(encoding="utf-8").splitlines(), file.parent)
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"the requirements cannot be read: {error}") from None
    return "\n".join(lines)


def _container(wanted: Wanted, held: Mapping[str, Any]) -> dict[str, str]:
    """Return the container, if an option names it or its arguments."""
    if hide_in_arguments(wanted.docker_args) != wanted.docker_args:
        raise click.UsageError("`--docker-args` holds a secret, which must not travel: set it on the agent's machine")
    if not wanted.container and not wanted.docker_args:
        return {}
    found = {name: str(value) for name, value in held.items() if value}
    if wanted.container:
        found["image"] = wanted.container
    if wanted.docker_args:
        found["arguments"] = wanted.docker_args
    return found
