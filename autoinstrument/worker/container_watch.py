"""End the runs of a process before the ClearML agent outside of its container ends that, and the worker with it.

An agent that runs its Tasks in containers (`--docker`, the Kubernetes glue) ends the whole container of a Task that
was aborted: clearml-agent 3.0.3 by `docker stop -t 1`, within five seconds. The container gets no warning: SIGTERM
reaches only its first process, which ignores it. So the worker asks ClearML itself. The process, which
has MLflow loaded, ends its runs there: the worker would need seconds to load it.

An agent waits for a program that has registered an abort callback. The worker registers one in the Task, and needs to
ask only now and then; it ends the wait when the runs are ended. Only where the program has its own callback, the worker
must be as quick as the agent. A pod has 30 seconds to end, and an agent takes 20 to believe in a reset; a Task that is
deleted leaves no time.

In a pod, a part of the agent is inside, and may kill the process first, or see it die. The container lasts a second or
two then: the worker loads MLflow at the beginning.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard, logger
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.records import RunsKilled
from autoinstrument.worker.agent_task import AgentTaskOutcome
from autoinstrument.worker.jobs import Aside
from autoinstrument.worker.mlflow_access import MLflowAccess
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess

_EVERY_S, _PATIENT_S = 1.5, 10.0
"""Seconds between two questions, if the agent does not wait for the worker, and if it does."""
_GRACE_S = 20.0
"""Seconds that an agent waits for the worker, besides those between two questions."""
_END_S = 3.0
"""Seconds that a process has to end its runs in MLflow, before the agent need not wait any more."""


class _Watched:
    """What is known of one process.

    Attributes:
        is_asking: an answer is awaited.
        ask_at: when ClearML may be asked again.
        has_grace: the agent waits for the worker; None before that is known.
    """

    def __init__(self) -> None:
        self.is_asking = False
        self.ask_at = 0.0
        self.has_grace: bool | None = None


class ContainerWatch:
    """Asks ClearML about the Tasks of processes in an agent's containers; for the worker's loop."""

    def __init__(self, tasks: Tasks, registry: RunRegistry, mlflow_access: MLflowAccess, aside: Aside) -> None:
        self._tasks, self._registry, self._mlflow, self._aside = tasks, registry, mlflow_access, aside
        self._prepared: set[str] = set()
        self._watched: dict[TrainingProcess, _Watched] = {}
        self._graces: dict[str, float] = {}
        """When the agents that wait must be told to go on, by Task."""

    def look(self) -> None:
        """Ask about each process that has open runs, or whose agent would wait, if that is due."""
        now = time.monotonic()
        for task_id in [task_id for task_id, end_at in self._graces.items() if now >= end_at]:
            del self._graces[task_id]
            self._aside(partial(self._end_grace, task_id), bool)
        here = [process for process in self._registry.processes if process.container_task and process.gone_at is None]
        self._watched = {process: self._watched.get(process) or _Watched() for process in here}
        for process, watched in self._watched.items():
            runs = self._registry.open_runs_of(process)
            if watched.is_asking or now < watched.ask_at or not (runs or watched.has_grace):
                continue
            watched.is_asking = True
            if process.agent is not None and runs and (uri := runs[0].run.tracking_uri) not in self._prepared:
                self._prepared.add(uri)
                self._aside(partial(self._mlflow.prepare, uri), bool)
            if watched.has_grace is None:
                self._aside(partial(self._ask_for_grace, process.container_task), partial(self._granted, watched))
            else:
                self._aside(partial(self._end_of, process.container_task), partial(self._answered, process, watched))

    # On any thread

    def _ask_for_grace(self, task_id: str) -> bool | None:
        """Return whether the agent waits for the worker; None if the server does not answer."""
        try:
            return self._tasks.ask_for_grace(task_id, _GRACE_S, _PATIENT_S)
        except ClearMLError:
            return None

    def _end_grace(self, task_id: str) -> None:
        with contextlib.suppress(ClearMLError):  # the agent does not wait for ever
            self._tasks.end_grace(task_id)

    def _end_of(self, task_id: str) -> tuple[str, str] | None:
        """Return the status of a Task that its agent is about to end, and why; None if it goes on."""
        try:
            return self._tasks.end_of(task_id)
        except ClearMLError:
            return None

    # On the loop's

    def _granted(self, watched: _Watched, has_grace: bool | None) -> None:
        watched.has_grace = has_grace
        self._ask_later(watched)

    @staticmethod
    def _ask_later(watched: _Watched) -> None:
        watched.is_asking = False
        watched.ask_at = time.monotonic() + (_PATIENT_S if watched.has_grace else _EVERY_S)

    def _answered(self, process: TrainingProcess, watched: _Watched, ended: tuple[str, str] | None) -> None:
        self._ask_later(watched)
        if ended is None or process.gone_at is not None:
            return
        (status, reason), task_id = ended, process.container_task
        process.note_container_ends()
        if watched.has_grace:
            self._graces[task_id] = time.monotonic() + _END_S
        runs = self._registry.open_runs_of(process)
        if not runs:
            return
        end = End("stopped", reason, "")
        logger().info("Task %s: %s; its agent ends this container", task_id, reason)
        process.send(RunsKilled([mirror.run.run_id for mirror in runs], reason))
        with guard("ending the runs of a container"):
            for mirror in runs:
                self._registry.open.pop(mirror.run.run_id, None)
                mirror.do(partial(mirror.end_as, end))
            AgentTaskOutcome(task_id, runs, end, None, self._tasks).settle(status)
