"""Find the Task that this process already has: the script's own `Task.init`, or the one that an agent runs.

The only part of this package that runs in the training process; it never imports clearml, it looks whether the script
has done so.
"""

from __future__ import annotations

import os
import sys


def existing_task_id() -> str:
    """Return the id of the Task that this process has already, "" where it has none on the server.

    The main task of `Task.init` is read from its private place (seen in clearml 1.16 and 2.1): the public
    `Task.current_task()` makes a Task in a child process of a script that has one.
    """
    given = os.environ.get("CLEARML_TASK_ID") or os.environ.get("TRAINS_TASK_ID")
    if given:
        return given
    module = sys.modules.get("clearml.task")
    task = getattr(getattr(module, "Task", None), "_Task__main_task", None)
    task_id = str(getattr(task, "id", "") or "")
    return "" if task_id.startswith("offline-") else task_id  # that Task is a folder on this machine
