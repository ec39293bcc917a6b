"""Find the Task that this process already has: of the script's own `Task.init`, or of the agent that runs it."""

from __future__ import annotations

import os

from autoinstrument.integrations.clearml_internals import is_main_process, main_task_id


def existing_task_id() -> str:
    """Return the id of the Task that this process already has on the server, "" if it has none."""
    if given := _given():
        return given
    task_id = main_task_id()
    return "" if task_id.startswith("offline-") else task_id  # that Task is a folder on this machine


def is_initialized() -> bool:
    """Return True if the script's own `Task.init` has made a Task, or taken over that of the agent."""
    return bool(main_task_id())


def has_made_task() -> bool:
    """Return True if the script's own `Task.init` has made the Task in this process: no other program ends it."""
    return is_initialized() and is_main_process() and not _given()


def is_local_job() -> bool:
    """Return True if `LocalClearmlJob` has started this process for its Task: `start_locally` of pipelines and others.

    It sets this variable (clearml 1.16 to 2.1.12), and leaves console and aborts to `Task.init`.
    """
    return os.environ.get("CLEARML_SIMULATE_REMOTE_TASK", "") not in ("", "0")


def _given() -> str:
    """Return the id of the Task for which an agent or a controller has started this process, "" for none."""
    return os.environ.get("CLEARML_TASK_ID") or os.environ.get("TRAINS_TASK_ID") or ""
