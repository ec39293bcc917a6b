"""End the runs of a process before the ClearML agent outside of its container ends that, and the worker with it.

An agent that runs its Tasks in containers (`--docker`, the Kubernetes glue) ends the whole container of a Task that was
aborted or reset: clearml-agent 3.0.3 by `docker stop -t 1`, within five seconds. The container gets no
warning: SIGTERM reaches only its first process, which ignores it. So the worker asks ClearML itself. The process, which
has MLflow loaded, ends its runs there: the worker would need seconds to load it.

In a pod, a part of the agent is inside, and may kill the process first, or see it die. The container lasts a second or
two then: the worker loads MLflow at the beginning.
"""

from __future__ import annotations

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

_EVERY_S = 1.5


class ContainerWatch:
    """Asks ClearML about the Tasks of processes in an agent's containers; for the worker's loop."""

    def __init__(self, tasks: Tasks, registry: RunRegistry, mlflow_access: MLflowAccess, aside: Aside) -> None:
        self._tasks, self._registry, self._mlflow, self._aside = tasks, registry, mlflow_access, aside
        self._prepared: set[str] = set()
        self._asking: set[TrainingProcess] = set()
        self._at = 0.0

    def look(self) -> None:
        """Ask about each process that has open runs, if that is due and no answer is awaited."""
        if time.monotonic() < self._at:
            return
        self._at = time.monotonic() + _EVERY_S
        for process in self._registry.processes:
            is_watched = process.container_task and process not in self._asking and process.gone_at is None
            if is_watched and (runs := self._registry.open_runs_of(process)):
                self._asking.add(process)
                uri = runs[0].run.tracking_uri
                if process.agent is not None and uri not in self._prepared:
                    self._prepared.add(uri)
                    self._aside(partial(self._mlflow.prepare, uri), bool)
                self._aside(partial(self._end_of, process.container_task), partial(self._answered, process))

    def _end_of(self, task_id: str) -> tuple[str, str] | None:
        """Return the status of a Task that its agent is about to end, and why; None if it goes on."""
        try:
            return self._tasks.end_of(task_id)
        except ClearMLError:
            return None

    def _answered(self, process: TrainingProcess, ended: tuple[str, str] | None) -> None:
        self._asking.discard(process)
        if ended is None or process.gone_at is not None:
            return
        (status, reason), task_id = ended, process.container_task
        process.container_task = ""
        runs = self._registry.open_runs_of(process)
        end = End("stopped", reason, "")
        logger().info("Task %s: %s; its agent ends this container", task_id, reason)
        process.send(RunsKilled([mirror.run.run_id for mirror in runs], reason))
        with guard("ending the runs of a container"):
            for mirror in runs:
                self._registry.open.pop(mirror.run.run_id, None)
                mirror.do(partial(mirror.end_as, end))
            AgentTaskOutcome(task_id, runs, end, None, self._tasks).settle(status)
