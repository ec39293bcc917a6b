"""The process's worker: found or started when it is needed, and started once more when it has died."""

from __future__ import annotations

import contextlib
import shutil
import socket

from autoinstrument.guard import guard
from autoinstrument.transport import exit_status, worker_process


class WorkerAccess:
    """The way to the worker.

    Args:
        kind: "process" or "thread", as `AUTOINSTRUMENT_WORKER` has it.

    Attributes:
        shared_run: a run that another process may have begun, "" for none: its worker is this process's, too.
    """

    def __init__(self, kind: str) -> None:
        self.shared_run = ""
        self._kind = kind
        self._worker: worker_process.WorkerHandle | None = None
        self._is_settled = False

    def connect(self, attempt: int) -> socket.socket:
        """Connect to the worker, which is started if this process has none, or if the first one has died (attempt 1).

        Raises:
            OSError: there is no worker, and none can be started.
        """
        worker = self._worker
        if attempt == 0 and worker is not None and worker.serves_this_process():
            return worker.connect()
        if worker is not None and attempt > 0 and not worker.joined:
            shutil.rmtree(worker.folder, ignore_errors=True)  # a worker that was killed leaves it behind
        self._is_settled = False
        if attempt == 0 and self.shared_run and self._kind == "process":
            self._worker = worker_process.find(self.shared_run)
            if self._worker is not None:
                with contextlib.suppress(OSError):
                    return self._worker.connect()
        self._worker = worker_process.start(self._kind)
        return self._worker.connect()

    def settle(self) -> None:
        """Do once what follows a worker's start: wait for its double fork, and let it read the exit code.

        Raises:
            OSError: the worker did not start.
        """
        if self._worker is not None and not self._is_settled:
            self._is_settled = True
            self._worker.settle()
            with guard("watching the exit code"):
                exit_status.watch(self._worker.folder)

    def publish(self, run_id: str) -> None:
        """Let other processes of this user on this machine find the run's worker.

        Raises:
            OSError: the worker's folder is gone.
        """
        if self._worker is not None:
            self._worker.publish(run_id)

    @property
    def is_lost_in_child(self) -> bool:
        """True in a forked child of a process whose worker is a thread, which the child does not have."""
        return self._worker is not None and not self._worker.serves_this_process()

    @property
    def ends_with_process(self) -> bool:
        """True if the worker is a thread of this process."""
        return self._worker is not None and self._worker.is_thread

    def clean_up(self) -> None:
        """Remove the folder of a worker that ends with this process."""
        if self._worker is not None and self._worker.is_thread:
            shutil.rmtree(self._worker.folder, ignore_errors=True)
