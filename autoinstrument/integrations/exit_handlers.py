"""The order in which the interpreter ends runs: the agent's at-exit handlers stand before and after MLflow's own."""

from __future__ import annotations

import atexit
import weakref
from types import ModuleType

from autoinstrument.agent import process_agent
from autoinstrument.integrations.mlflow_internals import end_runs_at_exit


def register(fluent: ModuleType) -> None:
    """Register the agent's handlers, and MLflow's between them, which run last in, first out.

    MLflow's ends the runs that are still open and calls them FINISHED, whatever ended the process (mlflow#3932):
    `exiting` must run before it, and `finish` after it.

    Args:
        fluent: the module `mlflow.tracking.fluent`.
    """
    end_runs = end_runs_at_exit(fluent)
    atexit.unregister(process_agent.finish)
    if end_runs is not None:
        atexit.unregister(end_runs)
    _run_finalizers_later()
    atexit.register(process_agent.finish)
    if end_runs is not None:
        atexit.register(end_runs)
    atexit.register(process_agent.exiting)


def _run_finalizers_later() -> None:
    """Have the interpreter call `weakref.finalize` objects after `finish`, up to which the agent's threads use MLflow.

    Their at-exit handler is registered with the first of them, usually one of SQLAlchemy's for a connection. It would
    roll back what a thread of the agent is writing, and print an error if such a thread made one meanwhile.
    """
    weakref.finalize(_run_finalizers_later, dict).detach()
