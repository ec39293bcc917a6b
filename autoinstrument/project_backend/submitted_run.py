"""A project that was queued: MLflow waits for it, asks for its status and cancels it by its Task."""

from __future__ import annotations

import sys
import time
from typing import Any

from mlflow.exceptions import ExecutionException
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.tracking import MlflowClient

from autoinstrument.guard import logger, own_calls
from autoinstrument.project_backend.submission import ClearMLSideError, ask

_STATUS = {
    "created": "SCHEDULED", "queued": "SCHEDULED", "in_progress": "RUNNING", "completed": "FINISHED",
    "published": "FINISHED", "closed": "FINISHED", "failed": "FAILED",
}  # fmt: skip
"""MLflow's statuses by those of a Task; others, such as "stopped", are KILLED."""
_OPEN = ("SCHEDULED", "RUNNING")
_SETTLE_S = 20.0
"""How long after the Task's end the agent's machine may take to report the run's end to MLflow."""


class ClearMLSubmittedRun(SubmittedRun):  # type: ignore[misc]
    """The run of a queued Task.

    Attributes:
        task_id: id of the Task in ClearML.
        task_url: address of its page.
    """

    def __init__(self, run_id: str, task_id: str, task_url: str, tracking_uri: str) -> None:
        super().__init__()
        self.task_id, self.task_url = task_id, task_url
        self._run_id, self._tracking_uri = run_id, tracking_uri

    @property
    def run_id(self) -> str:
        """Id of the run in MLflow."""
        return self._run_id

    def wait(self) -> bool:
        """Wait until the Task has ended; return True if it succeeded. The run has ended in MLflow then, too."""
        status = self._ended(self._ask("wait", None))
        if status != "FINISHED" and _is_called_by_mlflow():
            raise ExecutionException(f"Run (ID '{self._run_id}') failed: {self.task_url}")
        return status == "FINISHED"

    def get_status(self) -> str:
        """Return MLflow's name of the Task's status, as in "RUNNING"."""
        return self._ended(self._ask("status"))

    def cancel(self) -> None:
        """Stop the Task, queued or running, and wait until it has ended in ClearML and in MLflow."""
        try:
            self._ended(self._ask("cancel"))
        except ClearMLSideError as error:  # MLflow ends the run; the Task stays as it is
            logger().warning("Task %s is not stopped: %s", self.task_id, error)
        else:
            interrupted = sys.exc_info()[1]
            if isinstance(interrupted, KeyboardInterrupt) and _is_called_by_mlflow():
                raise interrupted

    def _ask(self, action: str, timeout_s: float | None = 120.0) -> str:
        status = ask(action, {"task": self.task_id, "run": self._run_id}, timeout_s)["status"]
        return _STATUS.get(status, "KILLED")

    def _ended(self, status: str) -> str:
        """End the run in MLflow as the Task has ended, if nothing else does it; return the status.

        A program that the agent has started, or the worker beside it, ends the run itself.
        """
        if status in _OPEN:
            return status
        client, until = MlflowClient(self._tracking_uri), time.monotonic() + _SETTLE_S
        with own_calls():
            while (held := self._held(client)) == "RUNNING" and time.monotonic() < until:
                time.sleep(0.5)
            if held in _OPEN:
                client.set_terminated(self._run_id, status)
        return status

    def _held(self, client: Any) -> str:
        return str(client.get_run(self._run_id).info.status)


def _is_called_by_mlflow() -> bool:
    """Return True if the caller is `mlflow.projects.run`, which waits for a run.

    After a wait that failed and after Ctrl-C, it raises what these methods then raise themselves. But before, it sets
    the run FAILED, also where the run has ended as KILLED (mlflow 2.16 to 3.17: `_maybe_set_run_terminated` compares
    the name of a status with numbers).
    """
    return sys._getframe(2).f_globals.get("__name__") == "mlflow.projects"
