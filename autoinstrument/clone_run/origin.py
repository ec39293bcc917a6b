"""Find the Task that was cloned, and list what was changed: the lineage of a clone's run."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.task import has_had_run, run_of
from autoinstrument.clearml_api.task_lookup import TaskLookup
from autoinstrument.clone_run.command_line import CONFIGURATION
from autoinstrument.clone_run.lineage import CHANGED, CLONED_FROM, CLONED_FROM_RUN, as_property
from autoinstrument.clone_run.settings import OBJECT
from autoinstrument.clone_run.task_content import (
    CHANGES,
    INTERPRETER,
    SOURCE,
    code_fields,
    comparable_packages,
    container_fields,
)
from autoinstrument.integrations.parsed_arguments import command_line
from autoinstrument.scrubber import hide, hide_in_arguments, hide_in_text, is_secret

SECTIONS = ("Args", "Hydra")
"""Hyperparameter sections of which a changed value takes effect in a clone."""
_VARIABLES = "Environment"
"""ClearML's section of environment variables, which agents with `agent.enable_task_env` set."""
_LONGEST = 5000
"""Characters of the tag that lists the changes."""
_MOST_PACKAGES = 30
"""Packages that it lists; `autoinstrument diff` shows all."""

Values = dict[str, dict[str, str]]
"""Values of a Task's hyperparameters, by section and name."""


def values_of(task: Mapping[str, Any]) -> Values:
    """Return the values of a Task's hyperparameters."""
    sections = task.get("hyperparams") or {}
    return {
        section: {name: str(item.get("value") or "") for name, item in items.items()}
        for section, items in sections.items()
    }


def lineage_of(tasks: TaskLookup, task: dict[str, Any]) -> dict[str, str]:
    """Return the tags of the run of a clone: the Task and the run that it was cloned from, and the changes."""
    run_id = origin_run(task)
    tags = {CLONED_FROM_RUN: run_id}
    try:
        origin = _origin(tasks, task, run_id)
    except ClearMLError:  # the tag with the run is enough
        origin = {}
    if origin:
        tags[CLONED_FROM] = str(origin["id"])
        changed = [
            *changes(values_of(origin), values_of(task)),
            *_configuration_change(origin, task),
            *content_changes(origin, task),
        ]
        tags[CHANGED] = "\n".join(changed)[:_LONGEST] or "nothing"
    return {name: value for name, value in tags.items() if value}


def origin_run(task: dict[str, Any]) -> str:
    """Return the id of the run whose Task was cloned, "" for none.

    A clone still has the properties of its origin. A Task that was reset has its own, from the run that it had before.
    """
    if has_had_run(task):
        return values_of(task).get("properties", {}).get(as_property(CLONED_FROM_RUN), "")
    return run_of(task)


def _origin(tasks: TaskLookup, task: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Return the Task that was cloned, empty if it is gone.

    It is the parent of a clone that a person makes. The parent of a clone that an optimiser or a pipeline makes is the
    optimiser's or pipeline's own Task; then the origin is found by its run.
    """
    if not run_id:
        return {}
    parent = tasks.get(str(task["parent"])) if task.get("parent") else {}
    if OBJECT in (parent.get("configuration") or {}) and run_of(parent) == run_id:
        return parent
    found = tasks.of_run(run_id)
    return tasks.get(found) if found and found != task["id"] else {}


def changes(before: Values, after: Values) -> list[str]:
    """Return a line for each changed parameter or environment variable, with secrets hidden."""
    found = []
    for section in (*SECTIONS, _VARIABLES):
        old, new = before.get(section, {}), after.get(section, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                found.append(f"{section}/{name}: {_shown(name, old)} -> {_shown(name, new)}")
    return found


def _configuration_change(origin: dict[str, Any], task: dict[str, Any]) -> list[str]:
    """Return a line if the configuration of a Hydra job was edited."""
    before, after = (
        ((one.get("configuration") or {}).get(CONFIGURATION) or {}).get("value") or "" for one in (origin, task)
    )
    return [f"configuration {CONFIGURATION}: edited"] if before != after else []


def content_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each change of code, packages and container; of texts, how many lines differ."""
    return [
        *_differing("", code_fields(before), code_fields(after)),
        *_shortened(_differing("package ", *comparable_packages(before, after))),
        *_differing("container ", container_fields(before), container_fields(after)),
    ]


def _differing(section: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new or (name == INTERPRETER and not (old and new)):  # an agent that sets the commit removes it
            continue
        if name in (CHANGES, SOURCE):
            lines, others = (Counter((text or "").splitlines()) for text in (old, new))
            yield f"{name}: +{(others - lines).total()} -{(lines - others).total()} lines"
        else:
            shown = ("(none)" if text is None else hide_in_arguments(text) for text in (old, new))
            yield f"{section}{name}: {' -> '.join(shown)}"


def _shortened(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    more = len(found) - _MOST_PACKAGES
    return [*found[:_MOST_PACKAGES], *([f"and {more} more packages"] if more > 0 else [])]


def _shown(name: str, values: dict[str, str]) -> str:
    """Return a value as a tag may show it: a person may have typed a secret into the clone."""
    if name not in values:
        return "(none)"
    if is_secret(name):
        return hide(values[name])
    if name == "argv":
        with contextlib.suppress(ValueError):
            return command_line(shlex.split(values[name]))
    return hide_in_text(values[name])
