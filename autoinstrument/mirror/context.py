"""The state that the parts of one run share: the run, the way to its Task, and the limits of the whole Task."""

from __future__ import annotations

from typing import Any

from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror.event_batches import EventBatches
from autoinstrument.mirror.hyperparameter_queue import HyperparameterQueue
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings


class RunContext:
    """One run on its way to one Task.

    Attributes:
        journal: the run's journal, and in it the run as it is known at the moment.
        settings: the settings that the run is mirrored by.
        tasks: the server.
        uploads: the place for files.
        rejections: how data is sent that the server may refuse, and what it has refused.
        hyperparameters: parameters, tags and properties that wait.
        events: the way to send points, plots and console lines.
    """

    def __init__(
        self, journal: RunJournal, settings: Settings, tasks: Tasks, uploads: Uploads, rejections: Rejections
    ) -> None:
        self.journal = journal
        self.settings = settings
        self.tasks = tasks
        self.uploads = uploads
        self.rejections = rejections
        self.hyperparameters = HyperparameterQueue(tasks, rejections)
        self.events = EventBatches(tasks, rejections)

    @property
    def run(self) -> RunStarted:
        """The run as it is known at the moment."""
        return self.journal.run

    def change_run(self, **fields: Any) -> None:
        """Note that fields of the run have changed."""
        self.journal.run = self.run._replace(**fields)
