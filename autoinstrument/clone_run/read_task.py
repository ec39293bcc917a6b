"""Read the Task that a ClearML agent runs: the main program of a short-lived process, which prints JSON."""

from __future__ import annotations

import json

from autoinstrument.clearml_api.errors import ClearMLError, RefusedError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import awaited_run, run_of
from autoinstrument.clearml_api.task_lookup import TaskLookup
from autoinstrument.clone_run import command_line
from autoinstrument.clone_run.lineage import CLONED_FROM_RUN
from autoinstrument.clone_run.origin import SECTIONS, lineage_of, origin_run, values_of
from autoinstrument.clone_run.settings import OBJECT, read, start_folder_line
from autoinstrument.clone_run.task_description import TaskDescription
from autoinstrument.switch import is_on


def main(task_id: str) -> None:
    """Print the description of a Task as one line of JSON; exit with a message if it cannot be read."""
    try:
        print(json.dumps(described(Session(lean=True), task_id)))  # noqa: T201  (read by the process that asked)
    except ClearMLError as error:
        raise SystemExit(str(error)) from None


def described(session: Session, task_id: str) -> TaskDescription:
    """Return what the training process needs to know of its Task.

    Raises:
        ClearMLError: the Task cannot be read.
    """
    tasks = TaskLookup(session)
    task = tasks.get(task_id)
    if not task:
        raise RefusedError(f"there is no Task {task_id}")
    objects = task.get("configuration") or {}
    settings, line = objects.get(OBJECT), objects.get(command_line.OBJECT)
    if settings is None:
        origin = origin_run(task)
        return {"task": task_id, "run": run_of(task), "lineage": {CLONED_FROM_RUN: origin} if origin else {}}
    sections = values_of(task)
    found: TaskDescription = {
        "task": task_id,
        "run": run_of(task),
        "settings": read(str(settings.get("value") or "")),
        "sections": {name: sections[name] for name in SECTIONS if name in sections},
        "entry_point": (task.get("script") or {}).get("entry_point") or "",
        "lineage": lineage_of(tasks, task),
    }
    if line and line.get("value"):
        found["command_line"] = str(line["value"])
    configuration = objects.get(command_line.CONFIGURATION)
    if configuration and is_on(sections.get("Hydra", {}).get(command_line.ALLOW_EDIT, "")):
        found["configuration"] = str(configuration.get("value") or "")
    if folder := start_folder_line(str(settings.get("value") or "")):
        found["start_folder"], found["working_dir"] = folder, str((task.get("script") or {}).get("working_dir") or ".")
    if run_id := awaited_run(task):
        found["continues"] = run_id
    return found
