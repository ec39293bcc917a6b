"""The Tasks of one server: everything about Tasks that other folders use.

Requests are those of ClearML's API, one method each. The SDK's own `Task` class is not used: in a training process it
would change the training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.clearml_api.models import TaskModels
from autoinstrument.clearml_api.monitor_settings import MonitorSettings
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.shared_models import SharedModels
from autoinstrument.clearml_api.task import (
    ADOPTED,
    DEVELOPMENT,
    EXPERIMENT,
    GIVEN_TAGS,
    Hyperparameter,
    Task,
    experiment_of,
    has_had_run,
    is_adopted,
    is_of_run,
    points_of,
    property_of,
    run_of,
    store_of,
    task_from,
)
from autoinstrument.clearml_api.task_edits import TaskEdits
from autoinstrument.clearml_api.task_events import TaskEvents
from autoinstrument.clearml_api.task_lifecycle import TaskLifecycle
from autoinstrument.clearml_api.task_lookup import TaskLookup

__all__ = [
    "ADOPTED",
    "DEVELOPMENT",
    "EXPERIMENT",
    "GIVEN_TAGS",
    "Hyperparameter",
    "Task",
    "Tasks",
    "experiment_of",
    "has_had_run",
    "is_adopted",
    "is_of_run",
    "points_of",
    "property_of",
    "run_of",
    "store_of",
    "task_from",
]


class Tasks(TaskLifecycle, TaskLookup, TaskEdits, TaskEvents):
    """The Tasks of one server; each of the base classes can be used alone.

    Attributes:
        models: the models of these Tasks.
        shared_models: models that runs read, whichever Task they belong to.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.models = TaskModels(session)
        self.shared_models = SharedModels(session)

    def on_answer(self, note: Callable[[], object]) -> None:
        """Call a function after each request that has succeeded, on the thread that made it."""
        self._session.call_on_answer(note)

    def probe(self) -> None:
        """Send one small request.

        Raises:
            ClearMLError: the server did not answer.
        """
        self._session.ping()

    def capture_settings(self) -> CaptureSettings:
        """Return what ClearML's configuration says about the capture."""
        return self._session.login.capture_settings()

    def monitor_settings(self) -> MonitorSettings:
        """Return what ClearML's configuration says about the machine's figures."""
        return self._session.login.monitor_settings()

    def configured_fields(self) -> dict[str, Any]:
        """Return the fields of a new Task that ClearML's configuration sets, see `Login.task_fields`."""
        return self._session.login.task_fields()

    def supports_stopping(self) -> bool:
        """Return False if ClearML's configuration says that a Task that is stopped does not stop its process."""
        return self._session.login.supports_stopping()

    def logs_console(self) -> bool:
        """Return False if ClearML's configuration says that Tasks have no console."""
        return self._session.login.logs_console()
