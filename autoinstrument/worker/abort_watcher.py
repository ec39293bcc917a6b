"""Stop a training process whose Task a person has stopped in ClearML, as SIGTERM would.

A Task that `sync` or the server has stopped, because they took the process for dead, is set to running again, and so is
its run in MLflow. A Task that has ended because its run has ended in MLflow stays so, and its process goes on. But if
MLflow calls the run RUNNING, it was resumed here after an owner on another machine had ended it, whose worker has ended
the Task later: that is undone, because nothing would end the run if this machine vanished. A Task that a person has set
to completed or failed stays so, and its process goes on.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.clearml_api.task_lookup import TaskStatus
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.guard import guard, logger
from autoinstrument.mirror.completion import write_back
from autoinstrument.mirror.mapping import run_status
from autoinstrument.mirror.mapping.run_status import FOLLOWED, is_of_a_process, is_of_mlflow
from autoinstrument.mlflow_store.link_tags import is_running, set_running
from autoinstrument.worker.live_run import LiveRun
from autoinstrument.worker.training_process import TrainingProcess

_EVERY_S = 58.0
_OF_A_PERSON = "USER ABORTED"
"""The reason by which the SDK's `LocalClearmlJob` knows an abort; else it sets the Task to failed when its process has
ended with another exit code than 0 (clearml 1.16 to 2.1.12)."""

_Running = tuple[LiveRun, Sequence[TrainingProcess]]


class AbortWatcher:
    """Asks ClearML about all running Tasks at once, in one small request a minute."""

    def __init__(self, tasks: Tasks, *, aborts: bool = True, dead_after_s: float = math.inf) -> None:
        """Begin to watch.

        Args:
            tasks: the server.
            aborts: send SIGTERM where a person has stopped a Task; else only continue Tasks that no person has stopped.
            dead_after_s: seconds after which a silent run is ended elsewhere.
        """
        self._tasks, self._aborts = tasks, aborts
        self._every_s = min(_EVERY_S, dead_after_s / 5)
        self._may_be_ended = dead_after_s < math.inf
        self._at = time.monotonic() + self._every_s

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._at

    def begin(self, running: Iterable[_Running]) -> dict[str, _Running]:
        """Return what `look` takes, by the ids of the Tasks; on the thread to which the runs belong.

        Args:
            running: runs whose Tasks were made here and are running, each with the processes that own the run.
        """
        self._at = time.monotonic() + self._every_s
        return {mirror.task.id: (mirror, owners) for mirror, owners in running if mirror.task is not None}

    def look(
        self,
        by_task: Mapping[str, _Running],
        change: Callable[[LiveRun, Callable[[], object]], None],
    ) -> None:
        """Send SIGTERM to the processes whose Tasks a person has stopped; on any thread.

        Args:
            by_task: see `begin`.
            change: has a run changed on the thread to which it belongs.
        """
        aborts = self._aborts and self._tasks.supports_stopping()
        if not by_task or not (aborts or self._may_be_ended):
            return
        with guard("watching the Tasks"), contextlib.suppress(ClearMLError):
            for task in self._tasks.statuses(by_task):
                mirror, owners = by_task[task.task_id]
                if task.status == "stopped" and is_of_a_process(task.reason, task.message):
                    logger().warning("run %s goes on, its Task was stopped: %s", mirror.run.run_id, task.reason)
                    change(mirror, mirror.go_on)
                    with guard("setting a run to running again"):
                        set_running(*_place(mirror))
                elif _ends_with_its_run(task):
                    with guard("looking whether a run goes on"):
                        if self._must_run(task, mirror):
                            change(mirror, mirror.go_on)
                elif aborts and task.status == "stopped":
                    self._abort(mirror, owners, task)

    def _must_run(self, task: TaskStatus, mirror: LiveRun) -> bool:
        """Return True if no person has ended a Task, and MLflow calls its run RUNNING."""
        is_of_agent = task.reason == FOLLOWED or run_status.is_of_agent(self._tasks.get(task.task_id))
        return is_of_agent and is_running(*_place(mirror))

    def _abort(self, mirror: LiveRun, owners: Sequence[TrainingProcess], task: TaskStatus) -> None:
        """Send SIGTERM to the processes of a run whose Task a person has stopped."""
        run, text = mirror.run, " ".join(filter(None, (task.message, task.reason)))
        if run.is_local_job and mirror.task is not None:
            with contextlib.suppress(ClearMLError):
                self._tasks.finish(mirror.task, "stopped", _OF_A_PERSON, task.message)
        if any(process.pid == os.getpid() for process in owners):  # the worker is a thread, and dies with it
            mirror.journal.killed = True
            with guard("ending an aborted run"):
                write_back(mirror.journal, run.tracking_uri, note=mirror.settings.note)
            with guard("writing the journal"):
                mirror.journal.save()
        for process in owners:
            aborted = process.abort(run.run_id, f"aborted in ClearML: {text}")
            if aborted and process.pid != os.getpid():  # else the process itself has logged it on stderr
                logger().warning("run %s: aborted in ClearML; SIGTERM to %s", run.run_id, process.pid)


def _place(mirror: LiveRun) -> tuple[str, str, str]:
    """Return the store of a run, its workspace, and its id."""
    return mirror.run.tracking_uri, mirror.run.workspace, mirror.run.run_id


def _ends_with_its_run(task: TaskStatus) -> bool:
    """Return True if the run of a Task has ended in MLflow, or is taken for one without an agent, which follows it."""
    if task.status == "stopped":
        return is_of_mlflow(task.reason)
    return task.status in ("completed", "failed", "closed") or task.reason == FOLLOWED
