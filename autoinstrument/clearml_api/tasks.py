"""The Tasks of one server: everything about Tasks that other folders use.

Requests are those of ClearML's API, one method each. The SDK's own `Task` class is not used: in a training process it
would change the training.
"""

from __future__ import annotations

from collections.abc import Callable

from autoinstrument.capture.script_section import DiffSettings
from autoinstrument.clearml_api.models import Models
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.task import (
    ADOPTED,
    DEVELOPMENT,
    GIVEN_TAGS,
    Hyperparameter,
    Task,
    has_had_run,
    is_adopted,
    points_of,
    run_of,
)
from autoinstrument.clearml_api.task_edits import TaskEdits
from autoinstrument.clearml_api.task_events import TaskEvents
from autoinstrument.clearml_api.task_lifecycle import TaskLifecycle
from autoinstrument.clearml_api.task_lookup import TaskLookup

__all__ = [
    "ADOPTED",
    "DEVELOPMENT",
    "GIVEN_TAGS",
    "Hyperparameter",
    "Task",
    "Tasks",
    "has_had_run",
    "is_adopted",
    "points_of",
    "run_of",
]


class Tasks(TaskLifecycle, TaskLookup, TaskEdits, TaskEvents):
    """The Tasks of one server; each of the base classes can be used alone.

    Attributes:
        models: the models of these Tasks.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.models = Models(session)

    def on_answer(self, note: Callable[[], object]) -> None:
        """Have a function called after each request that has succeeded, on the thread that made it."""
        self._session.on_answer = note

    def probe(self) -> None:
        """Send one small request.

        Raises:
            ClearMLError: the server did not answer.
        """
        self._session.ping()

    def diff_settings(self) -> DiffSettings:
        """Return what ClearML's configuration says about uncommitted changes."""
        return self._session.login.diff_settings()

    def output_destination(self) -> str:
        """Return the storage that ClearML's configuration names for the files of new Tasks, "" for none."""
        return self._session.login.output_destination()
