"""Limits of MLflow's clients in the agent's own processes: how long they try, and which folders they may create."""

from __future__ import annotations

import os

from autoinstrument.mlflow_store import internals

_RETRIES, _TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
_artifact_root = ""
"""The folder that a worker gives to MLflow instead of `./mlruns`."""


def try_briefly() -> None:
    """Make MLflow's client try three times in this process: its default of 7 retries takes minutes (2.16 to 3.17)."""
    os.environ.setdefault(_RETRIES, "2")


def give_up_soon(folder: str) -> None:
    """Make MLflow's client fail within a minute and create no folder: for a worker that is a separate process.

    Args:
        folder: an existing folder that takes the place of `./mlruns`, which opening a database creates (mlflow 2.16).
            The worker's working directory is `/`.
    """
    global _artifact_root
    _artifact_root = folder
    os.environ.pop("MLFLOW_WORKSPACE", None)  # of the process that started it; each run has its own
    for name, most in ((_RETRIES, 1), (_TIMEOUT, 20)):
        given = os.environ.get(name, "")
        os.environ[name] = str(min(int(given), most) if given.isdecimal() else most)


def use_artifact_root() -> None:
    """Put the folder of `give_up_soon`, if any, in the place of `./mlruns`; called wherever a store is opened."""
    if _artifact_root:
        internals.set_default_artifact_root(_artifact_root)
