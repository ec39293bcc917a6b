"""The recipe of a Task, from which its program can be run again: code, packages, command line and variables.

The fields are read as clearml-agent 3.0.3 reads them, so that a person gets what an agent would run. A Task is data of
a server: nothing here trusts it to be well-formed.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoinstrument.capture.bundle import Unpacked, unpacked
from autoinstrument.capture.code import command_name
from autoinstrument.clone_run.command_line import ALLOW_EDIT, OBJECT, line_of, overrides, rewritten, with_overrides
from autoinstrument.clone_run.entry_point import LAUNCHERS
from autoinstrument.clone_run.origin import values_of
from autoinstrument.clone_run.settings import OBJECT as SETTINGS
from autoinstrument.clone_run.settings import is_elsewhere, read, start_folder_line
from autoinstrument.clone_run.task_content import is_patch, requirements_of
from autoinstrument.scrubber import MASK
from autoinstrument.switch import is_on

_ARGUMENTS, _HYDRA, _VARIABLES = "Args", "Hydra", "Environment"
_OF_SWEEP = {"config_name": "--config-name", "config_dir": "--config-dir"}
"""Options of Hydra that a job of a sweep has besides its overrides, by their names in `Args`."""
_PYTHON = re.compile(r"#\s*Python\s+(\d+(?:\.\d+)+)", re.I)
_PROJECT = re.compile(r"-m autoinstrument\.project_backend (?P<entry>.+)")
_IS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Recipe(NamedTuple):
    """How a Task's program is run.

    Attributes:
        task_id: id of the Task.
        name: its name.
        repository: address to clone from, "" if the Task holds the code itself.
        branch: name of the branch, "" for none.
        commit: commit to check out, "" for the newest one of the branch.
        working_dir: the folder in which the entry point is found, relative to the repository's root.
        start_folder: the folder in which the program is started, if that is another one, else "".
        entry_point: the program, and arguments that no parser has read by name, as ClearML has them.
        patch: uncommitted changes as `git apply` takes them, "" for none.
        text: the program itself, "" if it is in the repository, or in `files`.
        files: texts of the user's own files by path, of a program that no repository holds.
        search: folders from which modules are imported, relative to `working_dir`.
        is_shell: the program is a shell script.
        python: version of Python, as in "3.11" or "3.11.7", "" if it is not known.
        requirements: lines of a requirements file.
        arguments: words of the command line after the entry point.
        variables: environment variables that the Task carries.
        image: the container in which it ran, "" for none.
        notes: what a person must know, a line each.
    """

    task_id: str
    name: str
    repository: str
    branch: str
    commit: str
    working_dir: str
    start_folder: str
    entry_point: str
    patch: str
    text: str
    files: dict[str, str]
    search: list[str]
    is_shell: bool
    python: str
    requirements: str
    arguments: list[str]
    variables: dict[str, str]
    image: str
    notes: list[str]


def recipe_of(task: Mapping[str, Any]) -> Recipe:
    """Return how the program of a Task is run.

    Raises:
        ValueError: the Task does not say what it has run; the text is for a person.
    """
    script = task.get("script") or {}
    entry = str(script.get("entry_point") or "").strip()
    if not entry:
        raise ValueError("the Task names no program: it was made without its code")
    notes = list[str]()
    diff, binary = str(script.get("diff") or ""), str(script.get("binary") or "")
    requirements = requirements_of(task)
    version = _PYTHON.search(requirements) or re.search(r"python(\d+\.\d+)", binary)
    text = "" if is_patch(diff) else diff
    several = None if script.get("repository") or entry.startswith("-") else unpacked(text)
    if several is not None:
        text = ""
        entry = _unpacked_entry(several, entry)
    entry, words = _command_line(task, entry, notes)
    image = str((task.get("container") or {}).get("image") or "")
    if image:
        notes.append(f"the Task ran in the container {image}, which is not used here")
    if not requirements.strip():
        notes.append("the Task names no packages: the environment is empty")
    return Recipe(
        task_id=str(task.get("id") or ""),
        name=str(task.get("name") or ""),
        repository=str(script.get("repository") or ""),
        branch=str(script.get("branch") or ""),
        commit=str(script.get("version_num") or ""),
        working_dir=str(script.get("working_dir") or "."),
        start_folder=start_folder_line(_settings_text(task)) if entry.startswith("-m ") else "",
        entry_point=entry,
        patch=diff if is_patch(diff) else "",
        text=text,
        files=several.files if several else {},
        search=several.roots if several else ["."],
        is_shell=Path(binary).name in ("sh", "bash"),
        python=version[1] if version else "",
        requirements=requirements,
        arguments=words,
        variables=_variables(task, notes),
        image=image,
        notes=notes,
    )


def program_words(entry_point: str, folder: Path) -> list[str]:
    """Return the words of an entry point; the whole text is one word if it is the name of a file in the folder."""
    if (folder / entry_point).exists():
        return [entry_point]
    try:
        return shlex.split(entry_point)
    except ValueError:  # an open quote
        return [entry_point]


def _unpacked_entry(several: Unpacked, entry: str) -> str:
    """Return the entry point of a program of several files, given that of the script that holds them."""
    name = command_name(several.module.rpartition(".")[2]) if several.module else Path(several.main).name
    if entry == name:
        return f"-m {several.module}" if several.module else several.main
    words = program_words(entry, Path(os.devnull))[1:]
    return shlex.join([*(["-m", several.module] if several.module else [several.main]), *words])


def _command_line(task: Mapping[str, Any], entry: str, notes: list[str]) -> tuple[str, list[str]]:
    """Return the entry point and the words after it, as `clone_run.start` gives them to the program of a clone."""
    sections = values_of(task)
    values, hydra = sections.get(_ARGUMENTS, {}), sections.get(_HYDRA, {})
    hidden = [name for name, value in {**values, **hydra}.items() if MASK in value]
    if hidden:
        notes.append(f"{', '.join(hidden)}: a secret that the Task does not hold; add it to the command line")
    if is_on(hydra.get(ALLOW_EDIT, "")):
        notes.append(f"Hydra/{ALLOW_EDIT} is on: the edited configuration is not used here, the overrides are")
    if project := _PROJECT.fullmatch(entry):
        parameters = [word for name, value in values.items() if value != MASK for word in ("-P", f"{name}={value}")]
        return "-m mlflow run .", ["-e", *shlex.split(project["entry"]), "--env-manager", "local", *parameters]
    line = line_of(str(((task.get("configuration") or {}).get(OBJECT) or {}).get("value") or ""))
    if list(values) == ["argv"]:
        return _with_edited_words(entry, values["argv"], notes), []
    if line is not None:
        return entry, rewritten(line, with_overrides(line, values, hydra))
    if hydra:  # a job of a sweep
        options = [f"{option}={values[name]}" for name, option in _OF_SWEEP.items() if values.get(name)]
        return entry, [*options, *overrides(hydra)]
    words = [word for name, item in _items(task).items() for word in _option(name, item)]
    if words:
        notes.append("the Task does not hold the words of its command line: it is written from the section Args")
    return entry, words


def _with_edited_words(entry: str, argv: str, notes: list[str]) -> str:
    """Return the entry point with the arguments that `Args/argv` has, which a person may have changed."""
    try:
        program, given = shlex.split(entry), shlex.split(argv)
    except ValueError:
        notes.append("Args/argv is not understood: the arguments are those of the entry point")
        return entry
    if not program or (given and program[-len(given) :] == given):
        return entry
    first = 2 if program[0] == "-m" else 1
    if MASK in argv or (first == 2 and program[1].startswith(LAUNCHERS)):
        notes.append("Args/argv differs from the entry point, whose arguments are used")
        return entry
    return shlex.join([*program[:first], *given])


def _items(task: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return (task.get("hyperparams") or {}).get(_ARGUMENTS) or {}


def _option(name: str, item: Mapping[str, Any]) -> list[str]:
    value, kind = str(item.get("value") or ""), str(item.get("type") or "")
    if not value or MASK in value:
        return []
    if kind == "bool":
        return [f"--{name}"] if is_on(value) else []
    return [f"--{name}={value}"]


def _variables(task: Mapping[str, Any], notes: list[str]) -> dict[str, str]:
    """Return the variables of the Task: its settings, and those that ClearML's configuration has it show."""
    settings = read(_settings_text(task))
    uri = settings.get("MLFLOW_TRACKING_URI", "")
    if uri and is_elsewhere(uri):
        del settings["MLFLOW_TRACKING_URI"]
        notes.append(f"the MLflow store {uri} is not on this machine: MLFLOW_TRACKING_URI decides where the run goes")
    if settings or SETTINGS in (task.get("configuration") or {}):
        settings.setdefault("AUTOINSTRUMENT_ENABLED", "1")
    shown = values_of(task).get(_VARIABLES, {})
    kept = {name: value for name, value in shown.items() if _IS_NAME.fullmatch(name) and MASK not in value}
    return {**kept, **settings}


def _settings_text(task: Mapping[str, Any]) -> str:
    return str(((task.get("configuration") or {}).get(SETTINGS) or {}).get("value") or "")
