"""Start a process that a ClearML agent runs: take settings and edited arguments from the agent's Task.

Only a Task that carries the settings of this package is taken from. The process does not import clearml. This module is
imported at the interpreter's start, and imports what only some processes need when they need it.
"""

from __future__ import annotations

import os
import sys

from autoinstrument.clone_run import task_description
from autoinstrument.clone_run.entry_point import has_arguments_of, runs_entry_point
from autoinstrument.clone_run.task_description import TaskDescription

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Callable

    from autoinstrument.records import Argument

_description: TaskDescription | None = None


def begin() -> bool:
    """Take the Task's settings into the environment, its command line and its start folder.

    Variables that are set already win: the machine's own settings come before the Task's.

    Returns:
        True if the Task has settings.
    """
    global _description
    from autoinstrument.bootstrap.program import is_other_program, what_runs
    from autoinstrument.clearml_switches import switched_off
    from autoinstrument.guard import guard

    if is_other_program(sys.orig_argv) or switched_off():
        return False
    with guard("asking for the Task that the agent runs"):
        task_id = os.environ.get("CLEARML_TASK_ID") or os.environ["TRAINS_TASK_ID"]
        found = task_description.inherited()
        if found is None or found["task"] != task_id:
            # An agent starts a script or a module.
            found = _read(task_id) if what_runs(sys.orig_argv[1:])[0] in ("", "m") else None
        _description = found
        if found is not None and "settings" in found:
            take_settings(found["settings"])
            _take_command_line(found)
            if "start_folder" in found:
                from autoinstrument.clone_run.change_folder import enter_start_folder

                enter_start_folder(found)
            return True
    return False


def is_at_work() -> bool:
    """Return True in a process that a ClearML agent runs for a Task that carries settings of this package."""
    return _description is not None and "settings" in _description


def edited(read: Callable[[dict[str, str]], list[Argument]]) -> list[str] | None:
    """Return the command line that gives a parser the Task's parameters, None if this process was given arguments.

    For a Task that does not say which words its command line had: a job of a Hydra sweep, and those of older versions.

    Args:
        read: returns the arguments that the parser has, with their defaults; it is given the Task's parameters.
    """
    if _description is None:
        return None
    sections = _description.get("sections", {})
    values = dict(sections.get("Args", {}))
    if len(sys.argv) > 1 or not values or "argv" in values:
        return None
    if not runs_entry_point(_description.get("entry_point", "")):
        return None
    from autoinstrument.clone_run.command_line import overrides, rewritten

    if "Hydra" in sections:
        values["overrides"] = str(overrides(sections["Hydra"]))
    return rewritten({"arguments": read(values), "words": None}, values)


def edited_configuration() -> str:
    """Return the configuration, as YAML, that the Task has for this program's Hydra job; "" if Hydra's own counts."""
    if _description is None or not runs_entry_point(_description.get("entry_point", "")):
        return ""
    return _description.get("configuration", "")


def origin(task_id: str) -> dict[str, str]:
    """Return the lineage tags of a Task's run, empty if the Task is not a clone or not the agent's."""
    if _description is None or _description["task"] != task_id:
        return {}
    return _description.get("lineage", {})


def _read(task_id: str) -> TaskDescription | None:
    from autoinstrument.clone_run import reader_process

    text = reader_process.read(task_id)
    found = task_description.from_text(text)
    if found is not None:
        task_description.pass_on(text)
    return found


def take_settings(settings: dict[str, str]) -> None:
    """Set the variables that a Task carries, where the machine has not set them."""
    from autoinstrument.clone_run.settings import is_elsewhere
    from autoinstrument.guard import logger

    for name, value in settings.items():
        if name == "MLFLOW_EXPERIMENT_NAME" and os.environ.get("MLFLOW_EXPERIMENT_ID"):
            continue
        if name == "MLFLOW_TRACKING_URI" and not os.environ.get(name) and is_elsewhere(value):
            logger().warning("MLFLOW_TRACKING_URI=%s is on another machine; set it on this one", value)
            continue
        os.environ.setdefault(name, value)
    os.environ.setdefault("AUTOINSTRUMENT_ENABLED", "1")


def _take_command_line(description: TaskDescription) -> None:
    """Give the program the command line of the Task, edited or not, before it reads its own."""
    import shlex

    from autoinstrument.guard import logger

    sections = description.get("sections", {})
    values = sections.get("Args", {})
    entry_point = description.get("entry_point", "")
    if "command_line" in description and list(values) != ["argv"]:
        from autoinstrument.clone_run.command_line import line_of, rewritten, with_overrides

        line = line_of(description["command_line"])
        if line is not None and len(getattr(sys, "argv", [])) == 1 and runs_entry_point(entry_point):
            sys.argv[1:] = rewritten(line, with_overrides(line, values, sections.get("Hydra", {})))
        return
    # The entry point has the arguments as they were. A helper that the program starts has others, and keeps them.
    if list(values) == ["argv"] and runs_entry_point(entry_point) and has_arguments_of(entry_point):
        try:
            sys.argv[1:] = shlex.split(values["argv"])
        except ValueError as error:
            logger().warning("Args/argv is not understood (%s); the arguments stay as they were", error)
