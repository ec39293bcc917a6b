"""Decide whether MLflow's version and the settings allow the agent; asked while MLflow is imported, or later."""

from __future__ import annotations

from autoinstrument.bootstrap.explain_log import note

_wanted: bool | None = None


def is_wanted() -> bool:
    """Return True if MLflow's version and the settings allow the agent; log once what does not.

    Call it only while MLflow is being imported, or afterwards: importing MLflow calls this in turn.
    """
    global _wanted
    if _wanted is None:
        _wanted = False  # if the lines below fail, the next module of MLflow must not fail in the same way
        from mlflow.version import VERSION

        from autoinstrument.versions import MLFLOW

        note("version", VERSION)
        # The version first: an agent captures the console from the moment it is made.
        if MLFLOW.covers(VERSION):
            from autoinstrument.agent.process_agent import agent

            _wanted = agent() is not None
        else:
            from autoinstrument.guard import logger

            note("unsupported", VERSION)
            logger().warning("MLflow %s is not supported, and is left alone; supported: %s", VERSION, MLFLOW)
    return _wanted
