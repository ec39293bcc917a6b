"""How and when a run ended: the Task's last status, with a reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoinstrument.clearml_api.errors import RefusedError
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Delivery, Difference, Kind, RunPart, StoredData, TaskOfRun
from autoinstrument.mirror.mapping import links
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES
from autoinstrument.mirror.mapping.run_status import (
    End,
    is_of_death,
    is_of_mlflow,
    is_of_silence,
    of_run,
)
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import RunEnded
from autoinstrument.scrubber import hide_in_text

_ENDED = ("completed", "failed", "stopped", "closed", "published")
_MOST_ENDS = 16
"""Ends of a run that are remembered: trials that resume their parent's run end it again and again."""


class Status(Kind):
    """The status of an adopted Task belongs to its owner, unless that was the run's own process, and it has died."""

    name = "status"
    task_fields = ("status", "status_reason", "status_message", "hyperparams")
    is_in_search = True

    def part(self, context: RunContext) -> StatusPart:
        """See `Kind.part`."""
        return StatusPart(context)

    def read(self, run: RunReader) -> Iterable[StoredData]:
        """Return the run's end, nothing while it is running."""
        end = run.end()
        return [] if end is None else [end]

    def glance(self, of: TaskOfRun) -> Iterator[Difference]:
        """Compare the status of a run that has ended; how a process died, the Task knows better."""
        if of.stored.has_ended and not of.is_adopted:
            wanted, held = agreed_end(of.stored.status, of.task).status, str(of.task.get("status"))
            if held != wanted:
                yield Difference("status", f"{held} instead of {wanted}")

    def facts(self, run: StoredRun, data: Iterable[StoredData]) -> Iterator[tuple[str, str]]:
        """Yield MLflow's status of a run that has ended."""
        yield from (("status", record.status) for record in data if isinstance(record, RunEnded))


def agreed_end(status: str, task: Mapping[str, Any]) -> End:
    """Return how a run's Task must end, given MLflow's status and the Task as it is.

    A Task that has ended knows more than MLflow, which calls a run FINISHED after a crash too. It keeps its end unless
    MLflow reports a failure that the Task lacks, or the Task's reason is a former status of MLflow, or silence: a run
    that a follower has taken for dead may go on, and end.
    """
    of_mlflow = of_run(RunEnded("", status, 0, "", False))
    held, reason = str(task.get("status", "")), str(task.get("status_reason") or "")
    knows_more = held != "completed" and not is_of_mlflow(reason) and not is_of_silence(reason)
    if held in _ENDED and (knows_more or held == of_mlflow.status):
        return End(held, reason, str(task.get("status_message") or ""))
    return of_mlflow


class StatusPart(RunPart):
    """How the run ended, as far as it is known, and whether the Task says so.

    A run may have several owners: processes on one machine or on several that have resumed it. It has ended when the
    last of them has, and MLflow's word counts on both sides: the status that was written last. If owners have ended a
    run in different ways, here or (as the Task then shows) elsewhere, the store is asked which end that was.
    """

    is_needed = True

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._end: End | None = None
        self._is_on_task = False
        self._stored: RunEnded | None = None
        self._time_ms = self._time_on_task_ms = 0
        self._ends: dict[int, End] = {}
        """How owners here have ended the run, by the time that MLflow has of it."""
        self._is_in_doubt = False
        """The Task was ended elsewhere and set running again, so that it does not show another owner's end any more."""
        self._is_contested = self._is_decided = False
        """Owners have ended the run in different ways, and the store must be asked; the end counts whatever the Task's
        status is."""

    @property
    def known(self) -> End | None:
        """How the run ended, None while it goes on."""
        return self._end

    @property
    def is_settled(self) -> bool:
        """True if the Task has ended as the run did, or must not end."""
        return self._is_on_task

    @property
    def has_work(self) -> bool:
        """True while the Task lacks the run's end."""
        return self._end is not None and not self._is_on_task

    @property
    def awaits_store(self) -> bool:
        """True if MLflow must be asked who has ended the run last."""
        return self._is_contested and self._end is not None

    @property
    def latest(self) -> tuple[int, End] | None:
        """When and how the last of the owners here that have ended the run did so; None if none has."""
        return next(reversed(self._ends.items()), None)

    def note_end(self, end: End, ended_ms: int) -> None:
        """Note how an owner has ended the run, and when according to MLflow, in ms since the epoch."""
        self._ends.pop(ended_ms, None)
        self._ends[ended_ms] = End(*map(hide_in_text, end))
        if len(self._ends) > _MOST_ENDS:
            del self._ends[next(iter(self._ends))]

    def explained(self, end: End) -> End:
        """Return an end with the reason that another owner has given for the same status, if it has none of its own.

        `mlflow run` sets a run to FAILED whose script has ended it with an exception.
        """
        if not is_of_mlflow(end.reason):
            return end
        same = (other for other in reversed(self._ends.values()) if other.status == end.status)
        return next((other for other in same if not is_of_mlflow(other.reason)), end)

    def end_as(self, end: End, ended_ms: int = 0) -> bool:
        """Note how the run ended; return True if MLflow must be asked whether that was the last word.

        `ended_ms` is as in `note_end`, or 0 if no owner has ended the run in MLflow.
        """
        self._end, self._is_on_task = end, False
        if ended_ms:
            self.note_end(end, ended_ms)
            differ = any(other.status != end.status for other in self._ends.values())
            self._is_contested = differ or self._is_in_doubt
        return self._is_contested

    def doubt(self) -> None:
        """Note that the Task, which was ended elsewhere, is set running again: another owner's end may get lost."""
        self._is_in_doubt = True

    def note_time(self, ended_ms: int) -> None:
        """Note when the run ended according to MLflow, in ms since the epoch."""
        self._time_ms = ended_ms

    def settle(self, end: End | None, end_if_open: End | None) -> bool:
        """Note how the run ended, after `take_stored`; return True if it has ended in MLflow.

        Args:
            end: what counts if it is given; else MLflow's own status does.
            end_if_open: what counts if MLflow knows of no end either.
        """
        of_mlflow = self._end_of_mlflow()
        self._end = end or of_mlflow or end_if_open
        self._is_on_task = self._end is None
        return of_mlflow is not None

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        """Remember how the run ended according to MLflow; `settle` decides whether it counts, if nobody asked."""
        self._stored = next((record for record in data if isinstance(record, RunEnded)), None)
        if self._stored is not None:
            self._time_ms = self._stored.end_time_ms
        if self._is_contested:
            self._decide()

    def _end_of_mlflow(self) -> End | None:
        """Return the end that MLflow has, in the words of the owner that has written it; None for a run that is open.

        The time of the end shows who that was.
        """
        if self._stored is None:
            return None
        return self._ends.get(self._stored.end_time_ms) or of_run(self._stored)

    def _decide(self) -> None:
        self._end = self._end_of_mlflow() or self._end
        self._is_contested, self._is_decided = False, True

    def initial(self) -> dict[str, Any]:
        """Queue the time of the end."""
        self._context.hyperparameters.put(links.end_time(self._time_ms))
        return {}

    def created(self, *, bare: bool) -> None:
        """See `RunPart.created`."""
        self._time_on_task_ms = self._time_ms

    def found(self, task: Task, *, is_given: bool) -> None:
        """Queue the time of the end; another process's run is that process's to end."""
        if self._context.run.owned:
            self._context.hyperparameters.put(links.end_time(self._time_ms))
            self._time_on_task_ms = self._time_ms

    def restarted(self, task: Task) -> None:
        """Take the time of the end from the Task."""
        with contextlib.suppress(RefusedError):  # it is set again when the run ends
            self._context.tasks.delete_hyperparameters(task, PROPERTIES, [links.ENDED])
        self._time_on_task_ms = 0

    def reopen(self) -> None:
        """Note that the run goes on, maybe beside another owner."""
        if self._end is not None:
            self._ends.clear()
        self._end, self._is_on_task, self._time_ms = None, False, 0
        self._stored, self._is_contested, self._is_decided, self._is_in_doubt = None, False, False, False

    def close(self, task: Task) -> Task:
        """End the Task as the run ended."""
        if self._end is None or self._is_on_task:
            return task
        queue = self._context.hyperparameters
        if task.adopted:
            # While `Task.init` is at work it replaces all hyperparameters, these too (clearml 2.1.12).
            queue.put(links.properties(self._context.run, task.id, ended_ms=self._time_ms))
            queue.send(task)
            if self._context.run.made_task and is_of_death(self._end.reason):
                self._end_of_owner(task, self._end)
        elif task.status != self._end.status:
            if self._time_ms != self._time_on_task_ms:
                queue.put(links.end_time(self._time_ms))
                queue.send(task)
                self._time_on_task_ms = self._time_ms
            if not self._finish(task, self._end):
                return task
            task = task._replace(status=self._end.status)
        self._is_on_task = True
        return task

    def _end_of_owner(self, task: Task, end: End) -> None:
        """End the Task of a `Task.init` whose process died, unless a person or the process itself has ended it."""
        now = self._context.tasks.get(task.id)
        if now.get("status") == "in_progress":
            self._context.tasks.finish(task, end.status, end.reason, end.message)

    def _finish(self, task: Task, end: End) -> bool:
        """End the Task; return False if another process has ended it in a way that forbids this: MLflow decides then.

        A server refuses `failed` after `completed` and the other way round, unless it is forced (API 2.34).
        """
        try:
            self._context.tasks.finish(task, end.status, end.reason, end.message, force=self._is_decided)
        except RefusedError as error:
            if self._is_decided or not error.is_finished:
                raise
        else:
            return True
        self._is_decided = True  # if the store does not answer, this end counts
        self._is_contested = self._stored is None
        self._context.journal.guessed = True
        if not self._is_contested:
            self._decide()
        return False
