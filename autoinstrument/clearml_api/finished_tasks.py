"""The one rule about changes of a finished Task: read the field, merge the change, replace the whole field.

A Task that has ended takes events, tags and a name, but not a single hyperparameter, configuration object, artifact or
model, even with `force`; it takes all of them at once in `tasks.edit` (API 2.34).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task_lookup import read

Merge = Callable[[Any], Any]
"""Returns a field's new value, given the one that the Task has; the old one must stay unchanged."""


def change(session: Session, action: str, field: str, merge: Merge, /, task: str, **body: Any) -> None:
    """Change one field of a Task by a request for that field, or as a whole if the Task has finished.

    Args:
        session: a session with the server.
        action: the request that changes a Task that has not finished.
        field: the field that it changes.
        merge: makes the same change, given the field's value ({} if it has none).
        task: id of the Task.
        body: other fields of the request.

    Raises:
        ClearMLError: the server did not take the change.
    """
    try:
        session.call(action, task=task, **body)
    except RefusedError as error:
        if not error.is_finished:
            raise
        replace(session, task, field, merge)


def replace(session: Session, task: str, field: str, merge: Merge) -> None:
    """Read a field of a Task, merge a change into it, and replace it if it is different then.

    Raises:
        ClearMLError: the server did not take the change.
    """
    held = read(session, task).get(field) or {}
    merged = merge(held)
    if merged != held:
        session.call("tasks.edit", task=task, force=True, **{field: merged})
