"""One run and its Task: takes records in, and brings the Task up to them.

The live mirror and `sync` feed the same object. `take` only remembers; `flush` talks to the server, and data that it
could not deliver stays remembered, within bounds.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autoinstrument.clearml_api.errors import FilesUnavailableError, InternalError, RefusedError
from autoinstrument.clearml_api.tasks import Task, Tasks
from autoinstrument.guard import guard, logger
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.mirror import kinds
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.console import ConsolePart
from autoinstrument.mirror.kinds.kind import Kind, RunPart, StoredData
from autoinstrument.mirror.kinds.status import StatusPart
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.parts import Parts
from autoinstrument.mirror.rejections import Rejections
from autoinstrument.mirror.run_task import RunTask
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import EventsDropped, Record, RunStarted
from autoinstrument.scrubber import hide_in_text
from autoinstrument.settings import Settings


class RunMirror:
    """One run on its way to its Task.

    Attributes:
        journal: the run's journal.
        settings: those that the run is mirrored by.
        console, status: the run's console, which takes text as it is written, and how the run ended.
        lacking: why files wait to be uploaded when everything else is delivered; "" if none does.
        is_tagged: the link tags of the complete Task are written.
    """

    def __init__(
        self,
        journal: RunJournal,
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
            journal: the run's journal, and in it the run.
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
        self.journal = journal
        self.settings = settings
        self.lacking = ""
        self._is_capturing = is_capturing
        self._is_incomplete = self.is_tagged = False
        self._dropped = 0
        self._context = RunContext(
            journal, settings, tasks, uploads, Rejections(journal.run.run_id, self._confirm_well)
        )
        self._parts = Parts(self._context, kinds.KINDS)
        self.console, self.status = self._parts.of(ConsolePart), self._parts.of(StatusPart)
        look_first = journal.run.resumed or not journal.run.owned if look_first is None else look_first
        self._task = RunTask(
            self._context, self._parts,
            look_first=look_first, is_settled=is_settled, parent_task=parent_task, wait_s=wait_s,
        )  # fmt: skip

    # The state

    @property
    def run(self) -> RunStarted:
        """The run as it is known at the moment."""
        return self.journal.run

    @property
    def task(self) -> Task | None:
        """The Task, None while there is none."""
        return self._task.task

    @property
    def end(self) -> End | None:
        """How the run ended, None while it goes on."""
        return self.status.known

    @property
    def left_out(self) -> str:
        """What follows a Task's address for a person: the kinds of data whose code has failed; "" for none."""
        names = ", ".join(self._parts.left_out)
        return f"; left out because autoinstrument failed: {names}" if names else ""

    @property
    def has_ended(self) -> bool:
        """True if the Task has ended as the run did; also if it is complete and must not end."""
        return self.status.is_settled

    @property
    def is_incomplete(self) -> bool:
        """True if MLflow's store has data that was left out here; the Task must be completed from there."""
        left_out = any(self._parts.states(lambda part: part.is_incomplete))
        return self._is_incomplete or self._task.lacks_earlier_data or left_out

    @property
    def awaits_store(self) -> bool:
        """True if some kinds of data must be read from MLflow's store now, see `RunPart.awaits_store`."""
        return any(self._parts.states(lambda part: part.awaits_store))

    @property
    def is_linked(self) -> bool:
        """True if MLflow holds everything that only the journal knew."""
        return self.is_tagged and not self.journal.killed

    @property
    def weight(self) -> int:
        """About how many bytes wait to be delivered."""
        return sum(self._parts.states(lambda part: part.weight))

    @property
    def has_work(self) -> bool:
        """True while something waits to be delivered, or for a traceback to be printed."""
        return self.may_send or self.console.awaits_traceback

    @property
    def may_send(self) -> bool:
        """True while something waits to be delivered."""
        return (
            self.task is None
            or self._task.must_restart
            or self._context.hyperparameters.has_work
            or any(self._parts.states(lambda part: part.has_work))
        )

    @property
    def is_capturing(self) -> bool:
        """True while code or packages are still to come; until then the Task is not complete."""
        return self._is_capturing()

    # Records

    def take(self, record: Record) -> None:
        """Remember the content of a record of this run."""
        if isinstance(record, EventsDropped):
            if record.events and not self._dropped:
                logger().warning("run %s: more than fits into memory, the rest is read from MLflow", self.run.run_id)
            self._dropped += record.events
            self._is_incomplete = True
        self._is_incomplete = not self._parts.take(lambda part: part.take(record)) or self._is_incomplete

    def take_held(self, task: Mapping[str, Any]) -> None:
        """Note what the Task holds, as a search finds it, before the run's data is taken from the store."""
        self._parts.each(lambda part: part.take_held(task))

    def take_stored(self, read: Callable[[Kind], Iterable[StoredData]], *, only_awaited: bool = False) -> None:
        """Take everything that MLflow's store holds of the run; all but the last points of long histories are sent.

        Args:
            read: returns one kind's data.
            only_awaited: leave out what does not await the store, see `RunPart.awaits_store`.

        Raises:
            Exception: the store does not answer; it raises what its driver raises.
            ClearMLError: the server did not take everything; what it did not take is kept.
        """
        for kind, part in sorted(self._parts.with_kinds(), key=lambda each: each[0].is_paged):
            if kind.is_mirrored(self.settings) and (part.awaits_store or not only_awaited):
                self._parts.attempt_to_read(part, functools.partial(self._take_stored, kind, part, read))

    def _take_stored(self, kind: Kind, part: RunPart, read: Callable[[Kind], Iterable[StoredData]]) -> None:
        part.take_stored(read(kind), self)

    def compare_exactly(self) -> None:
        """Compare also what the Task seems to hold: points by their values, files by their hashes."""
        self._parts.each(lambda part: part.compare_exactly())

    def change_run(self, **fields: Any) -> None:
        """Note that fields of the run have changed, such as its `tracking_uri`."""
        self._context.change_run(**fields)

    def note_incomplete(self) -> None:
        """Note that something was left out that MLflow's store has."""
        self._is_incomplete = True

    # The run's course

    def note_end_time(self, ended_ms: int) -> None:
        """Note when the run ended according to MLflow, in ms since the epoch."""
        self.status.note_time(ended_ms)

    def end_as(self, end: End, *, guessed: bool = False, ended_ms: int = 0) -> None:
        """Note how the run ended, or that no report says how (`guessed`); `ended_ms` as in `StatusPart.note_end`."""
        end = self.status.explained(End(*map(hide_in_text, end)))
        guessed = self.status.end_as(end, ended_ms) or guessed
        self.console.show_traceback(end.traceback)
        if self._dropped:
            logger().warning("run %s: %d points, parameters or tags did not fit", self.run.run_id, self._dropped)
        self._parts.each(lambda part: part.end())
        self.journal.end, self.journal.guessed, self.journal.delivered = end._asdict(), guessed, False
        with guard("writing the journal"):
            self.journal.save()

    def settle(self, end: End | None, end_if_open: End | None) -> bool:
        """Note, after `take_stored`, that nothing is left out and how the run ended; see `StatusPart.settle`."""
        has_ended = self.status.settle(end, end_if_open)
        self.note_store_read()
        return has_ended

    def reopen(self, run: RunStarted) -> None:
        """Note that the run was resumed: its Task must run again."""
        self.console.finish()
        if self.task is not None and (self.end is not None or not self.run.owned):
            self._task.restart()
        self.journal.go_on(run)
        self.journal.kept = True
        self.is_tagged = False
        self._parts.each(lambda part: part.reopen())
        with guard("writing the journal"):
            self.console.renew()
            self.journal.save()

    def leave(self) -> None:
        """Note that no process here logs to the run any more, which a process on another machine will end."""
        self._parts.each(lambda part: part.leave(lacks_records=self._is_incomplete))

    def free_memory(self) -> None:
        """Note that the run has ended, and that nothing more is expected."""
        self._parts.each(lambda part: part.free_memory())

    def note_store_read(self) -> None:
        """Note that everything was read from MLflow's store, or is left to `sync`: nothing counts as left out."""
        self._is_incomplete = False
        self._task.note_store_read()
        self._parts.each(lambda part: part.note_store_read())

    def note_tagged(self) -> None:
        """Note that the link tags of the complete Task are written."""
        self.is_tagged = True
        if self.is_linked:
            self.journal.remove()

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
        task = self._task.ensure()
        if task is None:
            return
        if self.end is not None and not self.is_incomplete:
            self._parts.each(lambda part: part.conclude(task))
        self._context.hyperparameters.send(task)  # first, so that a Task that is looked at has its parameters
        self.lacking = ""
        for part in self._parts:
            try:
                self._parts.attempt(part, functools.partial(part.send, task))
            except FilesUnavailableError as error:
                self.lacking = str(error)
        if listed := self._context.rejections.new_list():
            with contextlib.suppress(RefusedError, InternalError):  # it has been logged
                self._context.tasks.set_configuration(task, [listed])

    def _confirm_well(self, after_s: float) -> None:
        if self.task is not None:
            self._context.tasks.confirm_well(self.task, after_s)
