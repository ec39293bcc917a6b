"""What was captured of a run's process on its way to the Task: code, packages, arguments."""

from __future__ import annotations

import functools

from autoinstrument.clearml_api.tasks import Hyperparameter, Task, Tasks
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror import mapping
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.records import Record
from autoinstrument.settings import Settings


class EnvironmentPart:
    """The `Part` of what a Task is made with, and what may change while the run goes on.

    Attributes:
        has_work: the capture is another than the Task was described by.
    """

    def __init__(self, capture: RunJournal, settings: Settings, tasks: Tasks, rejections: Rejections) -> None:
        self.has_work = False
        self._capture, self._settings = capture, settings
        self._tasks = tasks
        self._rejections = rejections
        self._bare = False
        self._arguments: set[str] = set()
        """Names of the arguments that the Task was given."""

    def take(self, record: Record) -> None:
        """Pass over every record: the capture is other people's to change."""

    def made_with(self) -> None:
        """Note that a Task was made with all of it."""
        self.has_work = False
        self._arguments = {item["name"] for item in self._items()}

    def all_of(self) -> None:
        """Note that a Task was made without any of it."""
        self.has_work = self._bare = True

    def send(self, task: Task) -> None:
        """Write all of it, if it has changed; a Task that the script or an agent made has its own.

        Raises:
            ClearMLError: the server did not take everything; it is sent again as a whole.
        """
        if not self.has_work:
            return
        if not task.adopted:
            self._write(task)
        self.has_work = self._bare = False

    def _write(self, task: Task) -> None:
        send_each, run = self._rejections.send_each, self._capture.run
        send_each(
            lambda scripts: self._tasks.edit(task, script=scripts[0]),
            [mapping.script(self._capture)],
            lambda _: "the script",
        )
        arguments = self._items()
        names = {item["name"] for item in arguments}
        # Those that nobody had read by name are not what a clone's parser can be given.
        send_each(
            functools.partial(self._tasks.delete_hyperparameters, task, mapping.ARGUMENTS),
            sorted(self._arguments - names),
            lambda name: f"that there is no argument {name}",
        )
        send_each(functools.partial(self._tasks.set_hyperparameters, task), arguments, mapping.item_name)
        self._arguments = names
        objects = mapping.configuration(self._capture)
        if self._bare:
            objects.append(mapping.travelling(self._settings, run))
        send_each(functools.partial(self._tasks.set_configuration, task), objects, lambda item: item["name"])
        send_each(
            functools.partial(self._tasks.add_artifacts, task), mapping.link_artifact(run), lambda item: item["key"]
        )

    def _items(self) -> list[Hyperparameter]:
        process = self._capture.process
        return mapping.arguments(process.arguments if process else ())
