"""Records from the worker to the training process."""

from __future__ import annotations

from autoinstrument.named_tuple import NamedTuple


class WorkerReady(NamedTuple):
    """The first record that a worker sends over each connection: before it, nothing at the other end is trusted."""

    program: str
    protocol: int
    pid: int


class RunLinked(NamedTuple):
    """A run has a Task."""

    run_id: str
    task_id: str
    task_url: str
    adopted: bool
    delivered: bool
    """The run has ended and its Task holds all of it."""
    lineage: dict[str, str] = {}  # noqa: RUF012  (never changed)
    """Tags of the run's lineage, see `clone_run.lineage`."""
    steps: list[str] = []  # noqa: RUF012  (never changed)
    """Runs that the process nests below this one, because they ended before ClearML knew of it."""


class RunPending(NamedTuple):
    """No Task could be made: the run is recorded and left to `sync`."""

    run_id: str
    reason: str
    """One line for a person, with the remedy."""


class CodeLacking(NamedTuple):
    """Something of the code that the process runs could not be captured."""

    reason: str
    """One line for a person: what is missing, why, and what to do."""


class RunAborted(NamedTuple):
    """The run's Task was stopped in ClearML: the process is about to receive SIGTERM."""

    run_id: str
    reason: str


class RunsKilled(NamedTuple):
    """The Task of the ClearML agent outside of the process's container has ended: the container is about to end."""

    run_ids: list[str]
    """The process's open runs, which it ends in MLflow."""
    reason: str


class RunsDelivered(NamedTuple):
    """Answer to `DeliveryAwaited`: each run of the process had nothing left to send, at some moment since then."""

    number: int
    """As in the question."""


class Delivered(NamedTuple):
    """Answer to `ProcessExiting`: nothing is left to send."""


Answer = (
    WorkerReady | RunLinked | RunPending | CodeLacking | RunAborted | RunsKilled | RunsDelivered | Delivered
)  # fmt: skip
