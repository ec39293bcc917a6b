"""Records between a worker and a command of the user, which is not a training process."""

from __future__ import annotations

from typing import TypedDict

from autoinstrument.named_tuple import NamedTuple


class ServedProcess(TypedDict):
    """A training process, or a child of one, as its worker knows it."""

    pid: int
    """0 if the process has not described itself yet."""
    script: str
    """Its program, "" if that is not known."""
    runs: list[str]
    """Ids of the runs to which it logs."""
    is_gone: bool
    """It has closed its connection, and its runs are still being delivered."""


class ServedRun(TypedDict):
    """A run that a worker mirrors."""

    run_id: str
    run_name: str
    experiment: str
    task_url: str
    """"" while there is no Task."""
    has_ended: bool
    waits: bool
    """The Task lacks something."""
    waiting_bytes: int
    """Its data in the worker's memory."""


class ReportRequested(NamedTuple):
    """Asks a worker for `WorkerReported`."""


class WorkerReported(NamedTuple):
    """The report of a worker: its processes and runs, the data that waits, and its cost."""

    pid: int
    started_ms: int
    version: str
    """Version of autoinstrument."""
    processes: list[ServedProcess]
    runs: list[ServedRun]
    memory_bytes: int
    """Resident."""
    cpu_s: float
    """CPU time so far, of the worker and the programs that it has started, such as Git."""
    problem: str
    """Why the last request to ClearML failed, "" if it did not."""
    failing_since_ms: int
    """When requests began to fail, 0 if they do not."""


class StopRequested(NamedTuple):
    """Asks a worker to deliver what has arrived, and to end."""


class WorkerStopped(NamedTuple):
    """Answer to `StopRequested`: the worker ends now. Training processes get it first, without a number of runs."""

    left: int
    """Number of runs whose Tasks lack something that it could not deliver."""


CommandRecord = ReportRequested | WorkerReported | StopRequested | WorkerStopped
