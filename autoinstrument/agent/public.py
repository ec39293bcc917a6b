"""The functions that a script may call, see `autoinstrument/__init__.pyi`; loaded when one is used first."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from autoinstrument.named_tuple import NamedTuple

if TYPE_CHECKING:
    from autoinstrument.agent import Agent

_LOOK_S = 0.02


class Run(Protocol):
    """MLflow's `Run` or `ActiveRun`."""

    @property
    def info(self) -> Any:
        """With the run's id as `run_id`."""


class LinkedTask(NamedTuple):
    """The ClearML Task of an MLflow run.

    Attributes:
        id: its id, 32 hexadecimal digits.
        url: address of its page, "" if ClearML's configuration names no web server.
    """

    id: str
    url: str


def is_active() -> bool:
    """Return True if runs that this process begins get Tasks. MLflow need not be imported yet."""
    return _is_armed() and ("mlflow" not in sys.modules or _agent() is not None)


def task_of(run: Run | str | None = None, timeout: float = 30.0) -> LinkedTask | None:
    """Return the Task of a run of this process; wait for it if it does not exist yet.

    Args:
        run: a run or its id; by default the active run.
        timeout: seconds.

    Returns:
        None if the run has no Task by then, if it is not known to this process, or if the agent is off.
    """
    agent, run_id = _agent(), _id_of(run)
    end = time.monotonic() + timeout
    while agent is not None and agent.knows(run_id):
        task = agent.task_of(run_id)
        if task is not None:
            return LinkedTask(*task)
        if time.monotonic() >= end or agent.is_left_alone(run_id):
            break
        time.sleep(_LOOK_S)
    return None


def wait_delivered(timeout: float = 60.0) -> bool:
    """Wait until everything that this process has logged so far is in ClearML.

    A run that is open stays open, and training need not wait: the worker delivers in any case.

    Args:
        timeout: seconds.

    Returns:
        False if that was not reached by then, or if the agent is off.
    """
    agent = _agent()
    return agent is not None and agent.delivery.wait(timeout)


def _is_armed() -> bool:
    return any(type(finder).__module__ == "autoinstrument.bootstrap.import_hook" for finder in sys.meta_path)


def _agent() -> Agent | None:
    """Return this process's agent, None if the agent is off or MLflow is not imported."""
    if not _is_armed() or "mlflow.tracking.fluent" not in sys.modules:
        return None
    from autoinstrument.agent.process_agent import agent
    from autoinstrument.bootstrap.support import is_wanted

    return agent() if is_wanted() else None


def _id_of(run: Run | str | None) -> str:
    if isinstance(run, str):
        return run
    active: Run | None = run
    if run is None and "mlflow" in sys.modules:
        active = sys.modules["mlflow"].active_run()
    return str(active.info.run_id) if active is not None else ""
