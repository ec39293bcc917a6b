"""The process's worker: found or started when it is needed, and again when it has died."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

from autoinstrument.child_console import marks
from autoinstrument.guard import guard
from autoinstrument.transport import exit_status, own_python, worker_process
from autoinstrument.transport.worker_link import Attempt
from autoinstrument.transport.worker_process import WorkerHandle


class WorkerAccess:
    """Finds the worker of this process, or starts it.

    Args:
        kind: "process" or "thread", as `AUTOINSTRUMENT_WORKER` has it.
        marks_console: processes below and beside this one may send the worker what they write to the console.
    """

    def __init__(self, kind: str, *, marks_console: bool = True) -> None:
        self._shared_run = ""
        """A run that another process may have begun, "" for none: its worker is this process's, too."""
        self._kind = kind
        self._marks_console = marks_console
        self._marked_by = 0
        self._worker: WorkerHandle | None = None
        self._is_settled = False

    def note_run(self, run_id: str, *, may_be_shared: bool) -> None:
        """Note a run; the first one that another process may have begun counts."""
        if may_be_shared:
            self._shared_run = self._shared_run or run_id

    def connect(self, attempt: Attempt) -> socket.socket:
        """Connect to the worker that this process has, or that others use; it is started if there is none.

        Raises:
            OSError: there is no worker, and none can be started.
        """
        if attempt.number == 0:
            for worker in self._known():
                with contextlib.suppress(OSError):
                    return self._connect(worker)
        elif self._worker is not None:
            self._worker.leave()
        may_share = own_python.worker_kind(self._kind) == "process" and not attempt.is_alone
        shared = worker_process.share(attempt.wait_s) if may_share else None
        return self._connect(shared or worker_process.start(self._kind))

    def _known(self) -> Iterator[WorkerHandle]:
        """Yield the worker that this process has inherited by a fork, and that of a run of another process."""
        if self._worker is not None and self._worker.serves_this_process():
            yield self._worker
        if (
            self._shared_run
            and self._kind == "process"
            and (found := worker_process.find(self._shared_run)) is not None
        ):
            yield found

    def _connect(self, worker: WorkerHandle) -> socket.socket:
        connection = worker.connect()
        if worker is not self._worker:
            self._worker, self._is_settled = worker, False
        return connection

    def settle(self, stops: Callable[[], bool]) -> None:
        """Do once what follows a worker's start: wait for its double fork, and let it read the exit code.

        Arguments and errors are those of `WorkerHandle.settle`.
        """
        if self._worker is not None and not self._is_settled:
            self._worker.settle(stops)
            self._is_settled = True
            with guard("watching the exit code"), contextlib.suppress(FileNotFoundError):  # the worker is gone again
                exit_status.watch(self._worker.folder.path)

    def publish(self, run_id: str) -> None:
        """Let other processes of this user on this machine find the run's worker, if it is there."""
        if self._worker is not None:
            with contextlib.suppress(FileNotFoundError):
                self._worker.publish(run_id)

    def mark(self, *, owned: bool) -> None:
        """Let processes below and beside this one send what they write to the console to its worker, if it is there.

        Args:
            owned: this process has begun a run.
        """
        if self._marks_console and self._worker is not None and not self._worker.is_thread:
            with contextlib.suppress(OSError):  # no folder for marks
                marks.leave(str(self._worker.folder.path), owned=owned)
                self._marked_by = os.getpid()

    @property
    def is_lost_in_child(self) -> bool:
        """True in a forked child of a process whose worker is a thread, which the child does not have."""
        return self._worker is not None and not self._worker.serves_this_process()

    @property
    def ends_with_process(self) -> bool:
        """True if the worker is a thread of this process."""
        return self._worker is not None and self._worker.is_thread

    def clean_up(self) -> None:
        """Remove the folder of a worker that ends with this process, and this process's marks."""
        if self._marked_by == os.getpid():
            marks.remove(os.getpid())
        if self._worker is not None and self._worker.is_thread:
            self._worker.folder.remove()
