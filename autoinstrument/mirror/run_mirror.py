"""One run and its Task: takes records in, brings the Task up to them.

The live mirror and `sync` feed the same object. `take` only remembers; `flush` talks to the server, and what it could
not deliver stays remembered, within bounds.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.errors import FilesUnavailableError, InternalError, RefusedError
from autoinstrument.clearml_api.tasks import Hyperparameter, Task, Tasks
from autoinstrument.clone_run.lineage import as_properties
from autoinstrument.clone_run.task_description import is_taken
from autoinstrument.guard import guard, logger
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror import mapping
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.parts.artifacts import ArtifactsPart
from autoinstrument.mirror.parts.base import RunPart
from autoinstrument.mirror.parts.console import ConsolePart
from autoinstrument.mirror.parts.environment import EnvironmentPart
from autoinstrument.mirror.parts.models import ModelWriter
from autoinstrument.mirror.parts.parameters import ParametersPart
from autoinstrument.mirror.parts.scalars import ScalarsPart
from autoinstrument.mirror.parts.snapshot import SnapshotPart
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.describe import RUN_NAME
from autoinstrument.mlflow_store.link_tags import STATE
from autoinstrument.mlflow_store.metric_history import History
from autoinstrument.records import (
    EventsDropped,
    InputsLogged,
    ModelsLogged,
    Record,
    RunDeleted,
    RunRestored,
    RunStarted,
    TagsSet,
    TracesLogged,
)
from autoinstrument.scrubber import hide_in_text
from autoinstrument.settings import Settings

_EVENTS = 2000


class RunMirror:
    """What a run's Task still lacks.

    Attributes:
        task: the Task, None while there is none.
        look_first: ClearML may have a Task of this run that is not known here.
        made: the Task was made here.
        settled: the run has ended long since: its Task is not set running, and somebody else may be making it too.
        lacking: why files wait to be uploaded, when all else is delivered; "" where none does.
        is_capturing: tells whether code or packages are still to come; until then the Task is not complete.
        parent_task: gives the id of the parent run's Task, "" where there is none.
        held: nothing is sent until the verdict on its Task is given.
        last_sent: when something was sent last, in seconds of the monotonic clock; as are the next two.
        server: when what the server refuses of this run as a whole may be tried again.
        ended_ms: when the run ended, as MLflow has it; 0 where that is not known.
        wait_until: while another process is about to make the Task.
    """

    def __init__(self, capture: RunJournal, settings: Settings, tasks: Tasks, uploads: Uploads) -> None:
        self.capture = capture
        self.run = capture.run
        self.settings = settings
        self.task: Task | None = None
        self.made = self.settled = False
        self.lacking = ""
        self.is_capturing: Callable[[], bool] = bool
        self.parent_task: Callable[[], str] = str
        self.wait_until = 0.0
        self._named = ""
        """The run's name as the Task has it, where that is known."""
        self.end: End | None = None
        self.ended_ms = self._told_ended_ms = 0
        self.linked = ""
        """The id of the Task that the training process was told of."""
        self.told = self.tagged = False
        """The training process was told to write the last tags; they are written, by it or here."""
        self.pending = self.told_lacking = False
        """What the training process was told: that delivery waits, or that of files alone."""
        self.ended = False
        self.server = Backoff()
        self.held = False
        self.last_sent = 0.0
        self._tasks = tasks
        self._incomplete = False
        self.look_first = capture.run.resumed or not capture.run.owned
        self._archived: bool | None = None
        self._restart = False
        self._dropped = 0
        self.console = ConsolePart(capture)
        self._rejections = Rejections(capture.run.run_id, self._confirm_well)
        self._description = EnvironmentPart(capture, settings, tasks, self._rejections)
        self._fields, self._curves = ParametersPart(tasks, self._rejections), ScalarsPart(tasks, self._rejections)
        self._artifacts = ArtifactsPart(lambda: self.run, settings, tasks, uploads, self._rejections)
        models = ModelWriter(tasks.models, lambda: self.run, uploads if settings.artifacts == "upload" else None)
        self._parts: list[RunPart] = [
            self._description,
            self._fields,
            self._curves,
            self._artifacts,
            SnapshotPart(ModelsLogged, models.write, self._rejections),
            SnapshotPart(InputsLogged, self._write_inputs, self._rejections),
            SnapshotPart(TracesLogged, self._write_traces, self._rejections),
        ]

    @property
    def incomplete(self) -> bool:
        """Something was left out that MLflow holds; the Task is to be completed from there."""
        return self._incomplete or self._curves.incomplete

    @incomplete.setter
    def incomplete(self, incomplete: bool) -> None:
        self._incomplete = self._curves.incomplete = incomplete

    @property
    def told_end(self) -> bool:
        """Nothing more is tried here for the run; the capture goes when MLflow has the link tags."""
        return self.console.ended

    @told_end.setter
    def told_end(self, told: bool) -> None:
        self.console.ended = told
        if told:
            self._curves.forget()

    @property
    def weight(self) -> int:
        """About how many bytes wait to be delivered."""
        return self._fields.weight + self._curves.weight

    # What is to be delivered

    def take(self, record: Record) -> None:
        """Remember what a record of this run says."""
        if isinstance(record, TagsSet):
            if RUN_NAME in record.tags:
                self._rename(record.tags[RUN_NAME])
        elif isinstance(record, (RunDeleted, RunRestored)):
            self._archived = isinstance(record, RunDeleted)
        elif isinstance(record, EventsDropped):
            if record.events and not self._dropped:
                logger().warning("run %s: more than fits into memory, the rest is read from MLflow", self.run.run_id)
            self._dropped += record.events
            self.incomplete = True
        for part in self._parts:
            part.take(record)

    def compare_exactly(self) -> None:
        """Compare also what a Task seems to hold: points by their values, files by their hashes."""
        self._curves.exact = self._artifacts.exact = True

    def take_history(self, history: History) -> None:
        """Take the whole history of one metric, of which the Task may hold a part; all but the last points are sent.

        Raises:
            mlflow.exceptions.MlflowException: the store does not answer.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        if self.task is None:
            self.flush_without_end()  # how much of the history the Task holds is known only now
        if self.task is None or self._curves.holds(history, self.task):
            return
        for page in history.pages():
            self._curves.take_page(page)
            if len(self._curves.next(_EVENTS)) == _EVENTS:
                self.flush_without_end()

    def end_as(self, end: End, *, guessed: bool = False) -> None:
        """Note how the run ended, or that it has and nobody has said how (`guessed`); the last word counts."""
        end = End(*map(hide_in_text, end))
        self.end, self.ended, self.told_end = end, False, False
        self.console.show_traceback(end.traceback)
        if self._dropped:
            logger().warning("run %s: %d points, parameters or tags did not fit", self.run.run_id, self._dropped)
        self._curves.ending = True
        self.capture.end, self.capture.guessed, self.capture.delivered = end._asdict(), guessed, False
        with guard("writing the capture"):
            self.capture.save()

    def reopen(self, run: RunStarted) -> None:
        """Note that the run was resumed: its Task is to run again."""
        self.console.end()
        self._restart = self._restart or (self.task is not None and (self.end is not None or not self.run.owned))
        self.capture.go_on(run)
        self.run = self.capture.run
        self.capture.kept = True
        self.end, self.ended, self.told_end, self.told, self.tagged = None, False, False, False, False
        self.ended_ms = 0
        self._curves.reopen()
        with guard("writing the capture"):
            self.console.renew()
            self.capture.save()

    def go_on(self) -> None:
        """Note that the Task was stopped, and the capture taken away, by somebody who took the process for dead."""
        self._restart = True
        self.linked = ""  # the run is to be called live again, and the capture to be written
        with guard("writing the capture"):
            self.console.renew()

    @property
    def is_running(self) -> bool:
        """True while the Task is one of ours, and was set running here."""
        return self.task is not None and not self.task.adopted and not self._restart and self.end is None

    def describe_again(self) -> None:
        """Note that the capture has changed (packages, arguments, source) since the Task was made."""
        self._description.has_work = True

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered, or for a traceback to be printed."""
        return self._may_send or self.console.awaits_traceback

    @property
    def _may_send(self) -> bool:
        return bool(
            self.task is None
            or self._may_archive
            or self.console.has_lines
            or self._restart
            or (self.end is not None and not self.ended)
            or any(part.has_work for part in self._parts)
        )

    @property
    def _may_archive(self) -> bool:
        """True where the Task is to be archived or taken back; archiving one that is running would stop it."""
        is_running = self.task is None or self.task.status == "in_progress"
        return self._archived is False or (self._archived is True and not is_running)

    @property
    def is_due(self) -> bool:
        """True while something waits to be delivered that may be sent now, or the run has just become complete."""
        is_complete = self._is_untold and not self.has_work
        is_held = self.held or bool(self.run.switched_off)
        return (self._may_send or is_complete) and not is_held and self.server.is_due()

    @property
    def is_linked(self) -> bool:
        """True when MLflow holds everything that only the capture knew."""
        return self.tagged and not self.capture.killed

    @property
    def is_hopeful(self) -> bool:
        """True while something waits to be delivered that may be taken in some seconds."""
        is_held = self.held or bool(self.run.switched_off)
        return (self.has_work or self._is_untold) and not is_held and self.server.has_hope()

    @property
    def _is_untold(self) -> bool:
        """True while the training process does not know that the run is complete."""
        return self.task is not None and self.ended and not self.told_end

    # Delivery

    def flush(self) -> None:
        """Bring the Task up to what is known, making it first where there is none.

        What waits for the place for files alone does not keep the run from ending; `lacking` says so.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        self.last_sent = time.monotonic()
        if self.task is None:
            self._make()
        task = self.task
        if task is None:
            return
        if self._restart:
            if not task.adopted:
                task = self.task = self._start_again(task)
            self._restart = False
        self._description.send(task)
        self._fields.send(task)  # so that a Task that is looked at has its parameters first
        self._send_events(task)
        self.lacking = ""
        for part in self._parts:
            try:
                part.send(task)
            except FilesUnavailableError as error:
                self.lacking = str(error)
        self._note_refused(task)
        if self.end is not None and not self.ended:
            if task.adopted:
                # While `Task.init` is at work it replaces all hyperparameters, ours too (clearml 2.1.12).
                self._set_hyperparameters(task, self._properties(task))
            elif task.status != self.end.status:
                task = self._placed(task)
                if self.ended_ms != self._told_ended_ms:
                    self._set_hyperparameters(task, mapping.end_time(self.ended_ms))
                    self._told_ended_ms = self.ended_ms
                self._tasks.finish(task, self.end.status, self.end.reason, self.end.message)
                self.task = task._replace(status=self.end.status)
            self.ended = True
        if self._archived is not None and self._may_archive:
            self._tasks.archive(task, self._archived)
            self._archived = None

    def _set_hyperparameters(self, task: Task, items: list[Hyperparameter]) -> None:
        """Set what the server takes; what it refuses is left out."""
        self._rejections.send_each(functools.partial(self._tasks.set_hyperparameters, task), items, mapping.item_name)

    def _note_refused(self, task: Task) -> None:
        """List on the Task what the server has refused of it."""
        if self._rejections.noted:
            return
        self._rejections.noted = True
        with contextlib.suppress(RefusedError, InternalError):  # it has been logged
            self._tasks.set_configuration(task, [mapping.refused(self._rejections.reasons, self._rejections.more)])

    def _confirm_well(self, after_s: float) -> None:
        if self.task is not None:
            self._tasks.confirm_well(self.task, after_s)

    def lost(self) -> None:
        """Note that the Task is gone: somebody deleted it, and a new one is to be made from MLflow's store."""
        self.task = None
        self.look_first = self.tagged = False
        self.capture.task_id, self.capture.delivered = "", False
        self.incomplete = True
        self.console.start_over()
        self._curves.start_over()

    def flush_without_end(self) -> None:
        """Bring the Task up to what is known, but leave it running: more is to come.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        end, self.end = self.end, None
        try:
            self.flush()
        finally:
            self.end = end

    def alive(self) -> None:
        """Tell the server that the Task is alive; it stops those that it hears nothing of for two hours.

        Raises:
            ClearMLError: it did not answer.
        """
        if self.task is not None and not self.task.adopted:
            self._tasks.ping(self.task)
            self.last_sent = time.monotonic()

    def adopt(self, task_id: str) -> None:
        """Go on with a Task that the script made itself, and give up the one that was made for it.

        What went to the other Task, or was lost while `Task.init` was at work on this one, is sent again from MLflow:
        the run counts as incomplete until then.

        Raises:
            ClearMLError: the server did not answer.
        """
        old, self.task = self.task, None
        self.capture.task_id, self.capture.adopted = task_id, True
        self.incomplete = True
        if old is not None and not old.adopted and old.id != task_id:
            self._tasks.delete(old)
            self._curves.start_over()

    def _make(self) -> None:
        """Find the run's Task or make one; a Task that was made but not started is found again, not made twice."""
        capture = self.capture
        if capture.task_id and self._find(capture.task_id):
            return
        if self.look_first and (task_id := self._tasks.of_run(self.run.run_id)) and self._find(task_id):
            return
        if time.monotonic() < self.wait_until:
            return
        body = mapping.new_task(self.settings, capture, self._fields.params, self.ended_ms)
        parent = self.parent_task()
        if parent:
            body["parent"] = parent
        self.look_first = True  # a request that seems to fail may have made one
        project = mapping.project_name(self.settings, self.run, capture.process)
        try:
            task = self._tasks.create(project, body)
            self._fields.made_with(self.run)
            self._description.made_with()
        except (RefusedError, InternalError) as error:
            if isinstance(error, InternalError) and (task_id := self._tasks.of_run(self.run.run_id)):
                self._find(task_id)  # it failed when there was one
                return
            logger().warning("run %s: its Task is refused, and made piece by piece: %s", self.run.run_id, error)
            task = self._tasks.create(project, mapping.bare(body))
            self._fields.all_of(self.run)
            self._description.all_of()
        capture.task_id = task.id  # from here on a failure must not make a second one
        if self.settled:
            first = self._tasks.of_run(self.run.run_id)
            if first and first != task.id:  # somebody else's, who was quicker
                self._tasks.delete(task)
                self._find(first)
                return
        self._tasks.start(task)
        self._told_ended_ms = self.ended_ms
        self._link(task._replace(parent=parent))
        self.made, self._named = True, self.run.run_name
        self._fields.name("")
        self.incomplete = self.incomplete or self.run.resumed  # what was logged before is not on the Task

    def _find(self, task_id: str) -> bool:
        """Go on with a Task that exists; False where it was deleted in ClearML, or is another run's or a person's."""
        capture, is_given = self.capture, self.capture.adopted
        # One that the process has just been given may yet name another run, from before it was reset, or its origin's.
        task = self._tasks.find(task_id, adopted=is_given, run_id="" if is_given else self.run.run_id)
        # Each process below an agent would take over the agent's Task; it is that of the first one's run.
        if task is None or (is_given and task.run_id != self.run.run_id and is_taken(task_id, task.run_id)):
            capture.task_id, capture.adopted = "", False
            self.console.start_over()
            return False
        capture.task_id, capture.adopted = task_id, task.adopted
        if self.run.owned and not (self.settled or task.adopted or task.status == "in_progress"):
            task = self._start_again(task)
        if is_given and self.run.owned and not self.run.resumed:
            # What a clone has there is its origin's, and so is its name.
            unknown = [name for name, value in as_properties(self.run.tags).items() if not value]
            self._tasks.delete_sections(task, (mapping.SECTION, mapping.TAGS_SECTION), unknown)
            self._fields.name(mapping.task_name(self.settings, self.run, capture.process))
            self._named = self.run.run_name
        if self.run.owned:
            items = [*self._properties(task), *mapping.tags(self.run.tags)]
            self._set_hyperparameters(task, items)
            self._told_ended_ms = self.ended_ms
            self._tasks.add_artifacts(task, mapping.link_artifact(self.run))
            self._tasks.add_tag(task, mapping.TAG)
            if self.run.resumed and self.run.tags.get(STATE) != "synced":
                self.incomplete = True  # the process that had it before may not have got to its end
        self._curves.held(task.points)
        self._link(self._placed(task))
        return True

    def _start_again(self, task: Task) -> Task:
        """Set a Task running that has ended; its run has not, any more."""
        self._tasks.start(task)
        with contextlib.suppress(RefusedError):  # it is set anew when the run ends
            self._tasks.delete_hyperparameters(task, "properties", [mapping.ENDED])
        self._told_ended_ms = 0
        return task._replace(status="in_progress")

    def _placed(self, task: Task) -> Task:
        """Put a Task below that of its run's parent, which may have been made later, by another process or `sync`."""
        if task.adopted or task.parent or not (parent := self.parent_task()):
            return task
        self._rejections.send_each(
            lambda some: self._tasks.edit(task, parent=some[0]), [parent], lambda _: "the parent"
        )
        return task._replace(parent=parent)

    def _properties(self, task: Task) -> list[Hyperparameter]:
        """Return the properties that lead back to the run, and say whose the Task is."""
        return mapping.properties(self.run, task.id if task.adopted else "", ended_ms=self.ended_ms)

    def _link(self, task: Task) -> None:
        self.task = task
        self.capture.task_id, self.capture.task_url = task.id, task.url

    def _send_events(self, task: Task) -> None:
        """Send points and console lines, together where they fit into one request."""
        while self._curves.next(1) or self.console.has_lines:
            points = self._curves.next(_EVENTS)
            events = [event for point in points if (event := mapping.scalar(task.id, point))]
            text, lines = self.console.next(task.id, _EVENTS - len(events))
            if not task.adopted:  # there, ClearML's own SDK or agent sends the console
                events += text
            self._rejections.send_events(self._tasks.add_events, events)
            self._curves.sent(points)
            self.console.sent(lines)

    def _write_inputs(self, task: Task, logged: InputsLogged) -> None:
        self._tasks.set_configuration(task, mapping.datasets(logged.datasets))

    def _write_traces(self, task: Task, logged: TracesLogged) -> None:
        self._tasks.set_hyperparameters(task, mapping.traces(logged))
        self._tasks.add_artifacts(task, mapping.traces_artifact(self.run, logged))

    def _rename(self, name: str) -> None:
        if name == self._named:
            return
        self._named = name
        self.run = self.capture.run = self.run._replace(run_name=name)
        self._fields.name(mapping.task_name(self.settings, self.run, self.capture.process))
