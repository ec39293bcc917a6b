"""The cluster's job in which a run's process runs: user properties such as `slurm_job_id`."""

from __future__ import annotations

from typing import Any

from autoinstrument.capture.job_scheduler import SCHEDULERS
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import CapturedKind, RunPart
from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES, hyperparameter

_NAMES = frozenset(name for scheduler in SCHEDULERS for name in scheduler.properties)


class SchedulerJob(CapturedKind):
    """Only the process knows it, so that there is nothing to compare a Task with."""

    name = "scheduler's job"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _SchedulerJobPart(context)


class _SchedulerJobPart(RunPart):
    """Processes that only log to the run do not describe it: the run's own process does."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def initial(self) -> dict[str, Any]:
        self._put()
        return {}

    def found(self, task: Task, *, is_given: bool) -> None:
        """Name the job of now: the run may go on in another one, and a clone has the job of its origin."""
        if not self._context.run.owned or self._context.journal.process is None:
            return
        for name in sorted(_NAMES & task.properties):
            self._context.hyperparameters.delete(PROPERTIES, name)
        self._put()

    def _put(self) -> None:
        process = self._context.journal.process
        job = process.job if process else {}
        items = [hyperparameter(PROPERTIES, name, value, "str") for name, value in job.items() if name in _NAMES]
        self._context.hyperparameters.put(items)
