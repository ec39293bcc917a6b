"""Read the Task that a ClearML agent runs: a short-lived process's main program, which prints what it finds as JSON."""

from __future__ import annotations

import contextlib
import json
import shlex
from typing import Any

from autoinstrument.clearml_api.errors import ClearMLError, RefusedError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks, has_had_run
from autoinstrument.clone_run.lineage import CHANGED, CLONED_FROM, CLONED_FROM_RUN, as_property
from autoinstrument.clone_run.settings import OBJECT, read
from autoinstrument.integrations.argparse_values import command_line
from autoinstrument.scrubber import hide, hide_in_text, is_secret

SECTIONS = ("Args", "Hydra")
"""Hyperparameter sections of which a changed value takes effect."""
_LONGEST = 5000


def main(task_id: str) -> None:
    """Print the Task's settings, parameters and origin; only whether it is this project's where it is not."""
    try:
        print(json.dumps(described(Session(lean=True), task_id)))  # noqa: T201  (read by the process that asked)
    except ClearMLError as error:
        raise SystemExit(str(error)) from None


def described(session: Session, task_id: str) -> dict[str, Any]:
    """Return what the training process needs to know of its Task.

    Raises:
        ClearMLError: the Task cannot be read.
    """
    tasks = Tasks(session)
    task = tasks.get(task_id)
    if not task:
        raise RefusedError(f"there is no Task {task_id}")
    settings = (task.get("configuration") or {}).get(OBJECT)
    sections = _values(task)
    run_id = _run_id(sections)
    if settings is None:
        origin = _origin_run(task, sections)
        return {"task": task_id, "run": run_id, "ours": False, "lineage": {CLONED_FROM_RUN: origin} if origin else {}}
    return {
        "task": task_id,
        "run": run_id,
        "ours": True,
        "settings": read(str(settings.get("value") or "")),
        "sections": {name: sections[name] for name in SECTIONS if name in sections},
        "entry_point": (task.get("script") or {}).get("entry_point") or "",
        "lineage": _lineage(tasks, task, sections),
    }


def _lineage(tasks: Tasks, task: dict[str, Any], sections: dict[str, dict[str, str]]) -> dict[str, str]:
    run_id = _origin_run(task, sections)
    tags = {CLONED_FROM_RUN: run_id}
    try:
        origin = _origin(tasks, task, run_id)
    except ClearMLError:  # the run matters more
        origin = {}
    if origin:
        tags[CLONED_FROM] = str(origin["id"])
        tags[CHANGED] = "\n".join(changes(_values(origin), sections))[:_LONGEST] or "nothing"
    return {name: value for name, value in tags.items() if value}


def _origin_run(task: dict[str, Any], sections: dict[str, dict[str, str]]) -> str:
    """Return the run whose Task was cloned, "" for none.

    A clone still has its origin's properties. A Task that was reset has its own, from the run that it had before.
    """
    properties = sections.get("properties", {})
    return properties.get(as_property(CLONED_FROM_RUN), "") if has_had_run(task) else _run_id(sections)


def _origin(tasks: Tasks, task: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Return the Task that was cloned, empty where it is gone.

    That is the parent of a clone that a person makes, but not of one that an optimiser or a pipeline makes: there the
    parent is their own Task, and the origin is found by its run.
    """
    if not run_id:
        return {}
    parent = tasks.get(str(task["parent"])) if task.get("parent") else {}
    if OBJECT in (parent.get("configuration") or {}) and _run_id(_values(parent)) == run_id:
        return parent
    found = tasks.of_run(run_id)
    return tasks.get(found) if found and found != task["id"] else {}


def _run_id(sections: dict[str, dict[str, str]]) -> str:
    return sections.get("properties", {}).get("mlflow_run_id", "")


def changes(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """Return what was changed between two Tasks' parameters (values by section and name), secrets hidden."""
    found = []
    for section in SECTIONS:
        old, new = before.get(section, {}), after.get(section, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                found.append(f"{section}/{name}: {_shown(name, old)} -> {_shown(name, new)}")
    return found


def _shown(name: str, values: dict[str, str]) -> str:
    """Return a value as a tag may show it: somebody may have typed a secret into the clone."""
    if name not in values:
        return "(none)"
    if is_secret(name):
        return hide(values[name])
    if name == "argv":
        with contextlib.suppress(ValueError):
            return command_line(shlex.split(values[name]))
    return hide_in_text(values[name])


def _values(task: dict[str, Any]) -> dict[str, dict[str, str]]:
    sections = task.get("hyperparams") or {}
    return {
        section: {name: str(item.get("value") or "") for name, item in items.items()}
        for section, items in sections.items()
    }
