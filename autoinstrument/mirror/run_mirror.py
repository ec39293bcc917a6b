"""One run and its Task: takes records in, and brings the Task up to them.

The live mirror and `sync` feed the same object. `take` only remembers; `flush` talks to the server, and data that it
could not deliver stays remembered, within bounds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.errors import FilesUnavailableError, InternalError, RefusedError
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.guard import guard, logger
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror import kinds
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.console import ConsolePart
from autoinstrument.mirror.kinds.environment import EnvironmentPart
from autoinstrument.mirror.kinds.kind import Kind, RunPart, StoredData
from autoinstrument.mirror.kinds.status import StatusPart
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.notices import Notices
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mirror.run_task import RunTask
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import EventsDropped, Record, RunStarted
from autoinstrument.scrubber import hide_in_text
from autoinstrument.settings import Settings

Part = TypeVar("Part", bound=RunPart)


class RunMirror:
    """One run on its way to its Task.

    Attributes:
        capture: the run's capture.
        settings: those that the run is mirrored by.
        console: the run's console, which takes text as it is written.
        notices: what the training process was told.
        server: when data of this run may be tried again that the server refuses as a whole.
        lacking: why files wait to be uploaded when everything else is delivered; "" if none does.
        last_sent: when something was sent last, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        capture: RunJournal,
        settings: Settings,
        tasks: Tasks,
        uploads: Uploads,
        *,
        look_first: bool | None = None,
        is_settled: bool = False,
        is_capturing: Callable[[], bool] = bool,
        parent_task: Callable[[], str] = str,
        wait_s: float = 0.0,
    ) -> None:
        """Begin a mirror; nothing is sent before `flush`.

        Args:
            capture: the run's capture, and in it the run.
            settings: those to mirror it by.
            tasks: the server.
            uploads: the place for files.
            look_first: ClearML may have a Task of this run that is not known here; by default if this process did not
                begin the run.
            is_settled: the run ended long ago: its Task is not set running, and another process may be making it too.
            is_capturing: returns True while code or packages are still to come; the Task is not complete before.
            parent_task: returns the id of the Task of the run's parent, "" for none.
            wait_s: seconds that another process is given to make the Task.
        """
        self.capture = capture
        self.settings = settings
        self.notices = Notices()
        self.server = Backoff()
        self.lacking = ""
        self.last_sent = 0.0
        self._tasks = tasks
        self._is_capturing = is_capturing
        self._is_incomplete = self._is_closed = self._is_tagged = self._is_held = False
        self._dropped = 0
        self._context = RunContext(
            capture, settings, tasks, uploads, Rejections(capture.run.run_id, self._confirm_well)
        )
        self._kinds: dict[Kind, RunPart] = {kind: kind.part(self._context) for kind in kinds.KINDS}
        self._parts = list(self._kinds.values())
        self.console, self._status = self._part(ConsolePart), self._part(StatusPart)
        if look_first is None:
            look_first = capture.run.resumed or not capture.run.owned
        self._task = RunTask(
            self._context, self._parts,
            look_first=look_first, is_settled=is_settled, parent_task=parent_task, wait_s=wait_s,
        )  # fmt: skip

    def _part(self, kind: type[Part]) -> Part:
        return next(part for part in self._parts if isinstance(part, kind))

    # The state

    @property
    def run(self) -> RunStarted:
        """The run as it is known at the moment."""
        return self.capture.run

    @property
    def task(self) -> Task | None:
        """The Task, None while there is none."""
        return self._task.task

    @property
    def is_made(self) -> bool:
        """True if the Task was made here, and not found."""
        return self._task.is_made

    @property
    def end(self) -> End | None:
        """How the run ended, None while it goes on."""
        return self._status.known

    @property
    def has_ended(self) -> bool:
        """True if the Task has ended as the run did; also if it is complete and must not end."""
        return self._status.is_settled

    @property
    def is_running(self) -> bool:
        """True while the Task runs, and was not adopted."""
        task = self.task
        return task is not None and not task.adopted and not self._task.must_restart and self.end is None

    @property
    def is_incomplete(self) -> bool:
        """True if MLflow's store has data that was left out here; the Task must be completed from there."""
        left_out = any(part.is_incomplete for part in self._parts)
        return self._is_incomplete or self._task.lacks_earlier_data or left_out

    @property
    def is_closed(self) -> bool:
        """True if nothing more is tried here for the run; the capture goes when MLflow has the link tags."""
        return self._is_closed

    @property
    def is_linked(self) -> bool:
        """True if MLflow holds everything that only the capture knew."""
        return self._is_tagged and not self.capture.killed

    @property
    def is_tagged(self) -> bool:
        """True if the link tags of the complete Task are written."""
        return self._is_tagged

    @property
    def is_held(self) -> bool:
        """True while nothing may be sent, see `hold`."""
        return self._is_held

    @property
    def weight(self) -> int:
        """About how many bytes wait to be delivered."""
        return sum(part.weight for part in self._parts)

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered, or for a traceback to be printed."""
        return self._may_send or self.console.awaits_traceback

    @property
    def _may_send(self) -> bool:
        return (
            self.task is None
            or self._task.must_restart
            or self._context.hyperparameters.has_work
            or any(part.has_work for part in self._parts)
        )

    @property
    def _is_unclosed(self) -> bool:
        """True if the Task has ended, and was not said to be complete yet."""
        return self.task is not None and self._status.is_settled and not self._is_closed

    @property
    def is_complete(self) -> bool:
        """True if the Task has just become complete: the run has ended, and nothing waits."""
        return self._is_unclosed and not (self.has_work or self.is_capturing)

    @property
    def is_capturing(self) -> bool:
        """True while code or packages are still to come; until then the Task is not complete."""
        return self._is_capturing()

    @property
    def is_due(self) -> bool:
        """True while something waits to be delivered that may be sent now, or the run has just become complete."""
        return (self._may_send or (self._is_unclosed and not self.has_work)) and self._is_free and self.server.is_due()

    @property
    def is_hopeful(self) -> bool:
        """True while something waits to be delivered that the server may take in some seconds."""
        return (self.has_work or self._is_unclosed) and self._is_free and self.server.has_hope()

    @property
    def _is_free(self) -> bool:
        return not (self._is_held or self.run.switched_off)

    # Records

    def take(self, record: Record) -> None:
        """Remember what a record of this run says."""
        if isinstance(record, EventsDropped):
            if record.events and not self._dropped:
                logger().warning("run %s: more than fits into memory, the rest is read from MLflow", self.run.run_id)
            self._dropped += record.events
            self._is_incomplete = True
        for part in self._parts:
            part.take(record)

    def take_held(self, task: Mapping[str, Any]) -> None:
        """Note what the Task holds, as a search finds it, before the run's data is taken from the store."""
        for part in self._parts:
            part.take_held(task)

    def take_stored(self, read: Callable[[Kind], Iterable[StoredData]]) -> None:
        """Take everything that MLflow's store holds of the run; all but the last points of long histories are sent.

        Args:
            read: returns one kind's data.

        Raises:
            Exception: the store does not answer; it raises what its driver raises.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        for kind, part in sorted(self._kinds.items(), key=lambda each: each[0].is_paged):
            if kind.is_mirrored(self.settings):
                part.take_stored(read(kind), self)

    def compare_exactly(self) -> None:
        """Compare also what the Task seems to hold: points by their values, files by their hashes."""
        for part in self._parts:
            part.compare_exactly()

    def describe_again(self) -> None:
        """Note that the capture has changed (packages, arguments, source) since the Task was made."""
        self._part(EnvironmentPart).describe_again()

    def change_run(self, **fields: str) -> None:
        """Note that fields of the run have changed, such as its `tracking_uri`."""
        self._context.change_run(**fields)

    def note_incomplete(self) -> None:
        """Note that something was left out that MLflow's store has."""
        self._is_incomplete = True

    # The run's course

    def note_end_time(self, ended_ms: int) -> None:
        """Note when the run ended according to MLflow, in ms since the epoch."""
        self._status.note_time(ended_ms)

    def end_as(self, end: End, *, guessed: bool = False) -> None:
        """Note how the run ended, or that it has ended and nobody has said how (`guessed`); the last word counts."""
        end = End(*map(hide_in_text, end))
        self._status.end_as(end)
        self._is_closed = False
        self.console.show_traceback(end.traceback)
        if self._dropped:
            logger().warning("run %s: %d points, parameters or tags did not fit", self.run.run_id, self._dropped)
        for part in self._parts:
            part.end()
        self.capture.end, self.capture.guessed, self.capture.delivered = end._asdict(), guessed, False
        self._save()

    def settle(self, end: End | None, end_if_open: End | None) -> bool:
        """Note, after `take_stored`, that nothing is left out and how the run ended; see `StatusPart.settle`."""
        has_ended = self._status.settle(end, end_if_open)
        self._completed_from_store()
        return has_ended

    def reopen(self, run: RunStarted) -> None:
        """Note that the run was resumed: its Task must run again."""
        self.console.finish()
        if self.task is not None and (self.end is not None or not self.run.owned):
            self._task.restart()
        self.capture.go_on(run)
        self.capture.kept = True
        self._is_closed = self._is_tagged = False
        self.notices.reopen()
        for part in self._parts:
            part.reopen()
        with guard("writing the capture"):
            self.console.renew()
            self.capture.save()

    def go_on(self) -> None:
        """Note that the process was taken for dead: the Task was stopped, and the capture removed."""
        self._task.restart()
        self.notices.unlink()  # the run must be called live again, and the capture be written
        with guard("writing the capture"):
            self.console.renew()

    def close(self) -> None:
        """Note that nothing more is tried here for the run."""
        self._is_closed = True
        for part in self._parts:
            part.release()

    def complete(self) -> None:
        """Note that the Task holds all of the run: the capture goes when MLflow has the link tags."""
        self.close()
        self.capture.delivered = True
        if self.is_linked:
            self.capture.remove()
        else:
            self._save()

    def leave_to_sync(self) -> None:
        """Note that MLflow's store does not answer: the run is closed, and its capture stays for `sync`."""
        self.close()
        self._completed_from_store()

    def note_tagged(self) -> None:
        """Note that the link tags of the complete Task are written."""
        self._is_tagged = True
        if self.is_linked:
            self.capture.remove()

    def hold(self) -> None:
        """Send nothing until `release`: ClearML has not said yet how the Task ended."""
        self._is_held = True

    def release(self) -> None:
        """Send again."""
        self._is_held = False

    def lost(self) -> None:
        """Note that the Task is gone: somebody deleted it, and a new one must be made from MLflow's store."""
        self._task.lose()
        self._is_tagged, self._is_incomplete = False, True
        self.capture.delivered = False

    def adopt(self, task_id: str) -> None:
        """Go on with a Task that the script made itself, and give up the one that was made for it.

        Raises:
            ClearMLError: the server did not answer.
        """
        self._task.adopt(task_id)

    # Delivery

    def flush(self) -> None:
        """Bring the Task up to what is known, and make it first if there is none; end it if the run has ended.

        Uploads that wait do not keep the run from ending; `lacking` says so.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        self.flush_without_end()
        self._task.close()

    def flush_without_end(self) -> None:
        """Bring the Task up to what is known, but leave it running: more is to come.

        Raises:
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        self.last_sent = time.monotonic()
        task = self._task.ensure()
        if task is None:
            return
        self._context.hyperparameters.send(task)  # first, so that a Task that is looked at has its parameters
        self.lacking = ""
        for part in self._parts:
            try:
                part.send(task)
            except FilesUnavailableError as error:
                self.lacking = str(error)
        if listed := self._context.rejections.new_list():
            with contextlib.suppress(RefusedError, InternalError):  # it has been logged
                self._tasks.set_configuration(task, [listed])

    def ping(self) -> None:
        """Tell the server that the Task is alive; it stops a Task that is silent for two hours.

        Raises:
            ClearMLError: it did not answer.
        """
        if self.task is not None and not self.task.adopted:
            self._tasks.ping(self.task)
            self.last_sent = time.monotonic()

    def _confirm_well(self, after_s: float) -> None:
        if self.task is not None:
            self._tasks.confirm_well(self.task, after_s)

    def _completed_from_store(self) -> None:
        self._is_incomplete = False
        self._task.is_completed_from_store()
        for part in self._parts:
            part.is_completed_from_store()

    def _save(self) -> None:
        with guard("writing the capture"):
            self.capture.save()
