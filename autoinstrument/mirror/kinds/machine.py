"""The machine of a run's process: the Task's runtime properties, which its page lists under *Info*."""

from __future__ import annotations

from typing import Any

from autoinstrument.clearml_api.tasks import Task
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import CapturedKind, RunPart


class Machine(CapturedKind):
    """Only the worker on that machine knows it, so that there is nothing to compare a Task with."""

    name = "machine"

    def part(self, context: RunContext) -> RunPart:
        """See `Kind.part`."""
        return _MachinePart(context)


class _MachinePart(RunPart):
    """Processes that only log to the run do not describe it: the run's own process does."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._sent: dict[str, Any] = {}
        self._is_new = False

    @property
    def _known(self) -> dict[str, Any]:
        return self._context.journal.runtime if self._context.run.owned else {}

    @property
    def has_work(self) -> bool:
        return self._known not in ({}, self._sent)

    def initial(self) -> dict[str, Any]:
        return {"runtime": dict(self._known)} if self._known else {}

    def created(self, *, bare: bool) -> None:
        self._is_new, self._sent = True, {} if bare else dict(self._known)

    def found(self, task: Task, *, is_given: bool) -> None:
        self._is_new = False

    def start_over(self) -> None:
        self._sent = {}

    def send(self, task: Task) -> None:
        """Write the properties; a Task that was found keeps others, and an adopted one also those that it has."""
        if not self.has_work:
            return
        tasks, known = self._context.tasks, dict(self._known)

        def write(_: Any) -> None:
            if self._is_new:
                tasks.edit(task, runtime=known)
            else:
                tasks.add_runtime(task, known)

        self._context.rejections.send_each(write, [known], lambda _: "the description of the machine")
        self._sent, self._is_new = known, False
