"""A ClearML agent runs this process: take settings and edited arguments from the Task, if it is one of this project's.

The process itself asks ClearML nothing and does not import it: a short-lived process does (`clone_run/read_task.py`),
once, and children inherit its answer in the variable `AUTOINSTRUMENT_CLONE`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_ANSWER = "AUTOINSTRUMENT_CLONE"
_LONGEST = 100_000
"""Characters of one variable; Linux takes 131,072 bytes."""
_LIMIT_S = 60.0
_LAUNCHERS = ("torch.distributed.", "accelerate.commands.")

_clone: dict[str, Any] = {}


def begin() -> bool:
    """Take the Task's settings into the environment, and its command line; tell whether the Task is this project's.

    Variables that are set already win: the machine's own settings go before the Task's.
    """
    global _clone
    from autoinstrument.bootstrap.program import is_other_program, what_runs
    from autoinstrument.clearml_switches import switched_off
    from autoinstrument.guard import guard

    if is_other_program(sys.orig_argv) or switched_off():
        return False
    with guard("asking for the Task that the agent runs"):
        task_id = os.environ.get("CLEARML_TASK_ID") or os.environ["TRAINS_TASK_ID"]
        inherited = _inherited()
        if inherited.get("task") == task_id:
            _clone = inherited
        elif what_runs(sys.orig_argv[1:])[0] in ("", "m"):  # what an agent starts is a script or a module
            _clone = _ask(task_id)
        if _clone.get("ours"):
            _take_settings(_clone["settings"])
            _take_command_line(_clone["sections"].get("Args") or {})
            return True
    return False


def edited(parser: Any) -> list[str] | None:
    """Return the command line that the Task's parameters say for a parser, None where it has one of its own."""
    sections = _clone.get("sections") or {}
    values = dict(sections.get("Args") or {})
    if len(sys.argv) > 1 or not values or "argv" in values or not _is_entry_point():
        return None
    from autoinstrument.clone_run.command_line import arguments_for, overrides

    if "Hydra" in sections:
        values["overrides"] = str(overrides(sections["Hydra"]))
    return arguments_for(parser, values)


def origin(task_id: str) -> dict[str, str]:
    """Return the tags that say where the run of this Task comes from, empty where it comes from none."""
    tags: dict[str, str] = _clone.get("lineage") or {}
    return tags if _clone.get("task") == task_id else {}


def task_of_agent() -> str:
    """Return the id of the Task that the agent runs, also in a process that was started below it, "" for none."""
    return str(_inherited().get("task", ""))


def is_taken(task_id: str, run_id: str) -> bool:
    """Return True if a Task is the agent's, and the run that it names is one that the agent's program has begun.

    Before, it names its origin's, the one that it had before it was reset, or none.
    """
    answer = _inherited()
    return answer.get("task") == task_id and run_id not in ("", answer.get("run", ""))


def _inherited() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(os.environ.get(_ANSWER) or "{}")
    return answer


def _ask(task_id: str) -> dict[str, Any]:
    from autoinstrument.guard import logger
    from autoinstrument.transport import own_python

    code = "import sys; from autoinstrument.clone_run.read_task import main; main(sys.argv[1])"
    done = own_python.run(code, task_id, timeout_s=_LIMIT_S)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:]
        logger().warning("the Task that the agent runs cannot be read, its settings do not count: %s", *reason or ["?"])
        return {}
    text = done.stdout.splitlines()[-1]
    if len(text) < _LONGEST:
        os.environ[_ANSWER] = text
    answer: dict[str, Any] = json.loads(text)
    return answer


def _take_settings(settings: dict[str, str]) -> None:
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


def _take_command_line(values: dict[str, str]) -> None:
    """Give a program whose arguments were not read by argparse the line that the Task has, edited or not."""
    import shlex

    from autoinstrument.guard import logger

    given = getattr(sys, "argv", [])[1:]
    # The entry point has the arguments as they were. A helper that the program starts has others, and keeps them.
    if list(values) == ["argv"] and given and _is_entry_point() and _entry_words()[-len(given) :] == given:
        try:
            sys.argv[1:] = shlex.split(values["argv"])
        except ValueError as error:
            logger().warning("Args/argv is not understood (%s); the arguments stay as they were", error)


def _is_entry_point() -> bool:
    """Tell whether this process runs the Task's own program, and not a launcher or a helper of it."""
    from autoinstrument.bootstrap.program import what_runs

    option, program = what_runs(sys.orig_argv[1:])
    if option not in ("", "m") or program.startswith(_LAUNCHERS):
        return False
    names = [os.path.basename(word) for word in _entry_words()]  # noqa: PTH119
    return os.path.basename(program) in names  # noqa: PTH119


def _entry_words() -> list[str]:
    import shlex

    return shlex.split(str(_clone.get("entry_point", "")))
