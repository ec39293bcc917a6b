"""The environment variables of a training process that ClearML's configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoinstrument.scrubber import hide_named
from autoinstrument.settings import INTERNAL

_OF_ONE_PROCESS = ("MLFLOW_RUN_ID", *INTERNAL)


def chosen(environ: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """Return the variables that match a pattern, by name.

    The patterns are those of the SDK (`binding/environ_bind.py`, clearml 1.16 to 2.1.12): `*` is all but ClearML's own
    variables, `NAME*` and `*NAME` are a beginning and an end, and anything else is a name.

    A variable that holds a secret is left out. The values are put back where an agent runs the Task (by `Task.init`, or
    by the agent with `agent.enable_task_env`), and a mask would take the place of the secret there. Variables that
    belong to this one process are left out, too: a clone would log to the run of its origin.
    """
    found = {
        name: value
        for name, value in environ.items()
        if any(_matches(name, each.strip()) for each in patterns) and name not in _OF_ONE_PROCESS
    }
    return {name: value for name, value in sorted(found.items()) if hide_named(name, value) == value}


def _matches(name: str, pattern: str) -> bool:
    if pattern == "*":
        return not name.startswith(("TRAINS_", "CLEARML_"))
    if pattern.endswith("*"):
        return name.startswith(pattern.rstrip("*"))
    if pattern.startswith("*"):
        return name.endswith(pattern.lstrip("*"))
    return name == pattern
