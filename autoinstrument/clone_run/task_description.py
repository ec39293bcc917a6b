"""Description of the Task that a ClearML agent runs, for the processes below that agent.

The first process reads it, and its children inherit it in a variable, so that the server is asked once.
"""

# No `from __future__ import annotations`: a TypedDict would compile each annotation.
import os
from typing import TypedDict

_VARIABLE = "AUTOINSTRUMENT_CLONE"
_LONGEST = 100_000
"""Characters of the variable; Linux has room for 131,072 bytes."""


class _Identified(TypedDict):
    task: str
    run: str


class TaskDescription(_Identified, total=False):
    """The Task that an agent runs; only a Task with the settings of this package has `settings`.

    Attributes:
        task: id of the Task.
        run: id of the run that it named when it was read: its origin's, or the one that it had before it was reset.
        settings: values of variables, by name.
        sections: parameters by hyperparameter section and name, of the sections whose changed values take effect.
        command_line: JSON text of a `CommandLine`.
        configuration: YAML text of the configuration that counts for a Hydra job instead of its own.
        entry_point: the program and its arguments, as ClearML has them.
        lineage: tags of the run that say where it comes from.
        continues: id of the run that the Task was queued for.
        start_folder: where the program must start, relative to the repository's root, until a process has gone there.
        working_dir: where the agent starts it; only with `start_folder`.
    """

    settings: dict[str, str]
    sections: dict[str, dict[str, str]]
    command_line: str
    configuration: str
    entry_point: str
    lineage: dict[str, str]
    continues: str
    start_folder: str
    working_dir: str


def from_text(text: str) -> TaskDescription | None:
    """Return the description of a JSON text, None if the text is not one."""
    from autoinstrument.json_shape import mismatch
    from autoinstrument.records import parse

    try:
        found = parse(text)
    except ValueError:
        return None
    if mismatch(found, TaskDescription):
        return None
    description: TaskDescription = found
    return description


def inherited() -> TaskDescription | None:
    """Return the description that this process has inherited, or has read itself; None for none."""
    return from_text(os.environ.get(_VARIABLE, ""))


def pass_on(text: str) -> None:
    """Let children inherit a description, if the variable has room for it."""
    if len(text) < _LONGEST:
        os.environ[_VARIABLE] = text


def task_of_agent() -> str:
    """Return the id of the Task that an agent runs, in any process below the agent; "" for none."""
    found = inherited()
    return found["task"] if found else ""


def is_taken(task_id: str, run_id: str) -> bool:
    """Return True if a Task is the agent's, and the run that it names was begun by the agent's program.

    Before that, the Task names the run of its origin, the one that it had before it was reset, or none.
    """
    found = inherited()
    return found is not None and found["task"] == task_id and run_id not in ("", found["run"])
