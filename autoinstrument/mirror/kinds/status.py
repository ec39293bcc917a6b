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
from autoinstrument.mirror.mapping.run_status import End, of_run
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import RunEnded

_ENDED = ("completed", "failed", "stopped", "closed", "published")


class Status(Kind):
    """The status of an adopted Task belongs to its owner."""

    name = "status"
    task_fields = ("status", "status_reason", "status_message", "hyperparams")

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
    MLflow reports a failure that the Task lacks.
    """
    of_mlflow = of_run(RunEnded("", status, 0, "", False))
    held = str(task.get("status", ""))
    if held in _ENDED and not (held == "completed" and of_mlflow.status != "completed"):
        return End(held, str(task.get("status_reason") or ""), str(task.get("status_message") or ""))
    return of_mlflow


class StatusPart(RunPart):
    """How the run ended, as far as it is known, and whether the Task says so."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._end: End | None = None
        self._is_on_task = False
        self._stored: RunEnded | None = None
        self._time_ms = self._time_on_task_ms = 0

    @property
    def known(self) -> End | None:
        """How the run ended, None while it goes on."""
        return self._end

    @property
    def is_settled(self) -> bool:
        """True if the Task has ended as the run did, or is not to end."""
        return self._is_on_task

    @property
    def has_work(self) -> bool:
        """True while the Task lacks the run's end."""
        return self._end is not None and not self._is_on_task

    def end_as(self, end: End) -> None:
        """Note how the run ended; the last word counts."""
        self._end, self._is_on_task = end, False

    def note_time(self, ended_ms: int) -> None:
        """Note when the run ended according to MLflow, in ms since the epoch."""
        self._time_ms = ended_ms

    def settle(self, end: End | None, end_if_open: End | None) -> bool:
        """Note how the run ended, after `take_stored`; return True if it has ended in MLflow.

        Args:
            end: what counts if it is given; else MLflow's own status does.
            end_if_open: what counts if MLflow knows of no end either.
        """
        of_mlflow = of_run(self._stored) if self._stored is not None else None
        self._end = end or of_mlflow or end_if_open
        self._is_on_task = self._end is None
        return of_mlflow is not None

    def take_stored(self, data: Iterable[StoredData], delivery: Delivery) -> None:
        """Remember how the run ended according to MLflow; `settle` decides whether it counts."""
        self._stored = next((record for record in data if isinstance(record, RunEnded)), None)
        if self._stored is not None:
            self._time_ms = self._stored.end_time_ms

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
        """Note that the run goes on."""
        self._end, self._is_on_task, self._time_ms = None, False, 0

    def close(self, task: Task) -> Task:
        """End the Task as the run ended."""
        if self._end is None or self._is_on_task:
            return task
        tasks, queue = self._context.tasks, self._context.hyperparameters
        if task.adopted:
            # While `Task.init` is at work it replaces all hyperparameters, these too (clearml 2.1.12).
            queue.put(links.properties(self._context.run, task.id, ended_ms=self._time_ms))
            queue.send(task)
        elif task.status != self._end.status:
            if self._time_ms != self._time_on_task_ms:
                queue.put(links.end_time(self._time_ms))
                queue.send(task)
                self._time_on_task_ms = self._time_ms
            tasks.finish(task, self._end.status, self._end.reason, self._end.message)
            task = task._replace(status=self._end.status)
        self._is_on_task = True
        return task
