"""Workspaces of MLflow 3: the one in which a call works, and those that a user may see.

MLflow's client takes the workspace of each call from a context variable of its thread, else from the variable
MLFLOW_WORKSPACE, which `mlflow.set_workspace` sets for the whole process (3.10 to 3.17). The agent's threads serve runs
of several workspaces, so they set the context variable alone, around each call.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from autoinstrument.guard import logger, own_calls
from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.store_errors import explained
from autoinstrument.mlflow_store.urls import DEFAULT_WORKSPACE
from autoinstrument.scrubber import without_credentials

VARIABLE = "MLFLOW_WORKSPACE"
_UNKNOWN_TO_SERVER = "INVALID_PARAMETER_VALUE"
"""MLflow's code for a server that is too old to say whether it has workspaces (3.17)."""
_Item = TypeVar("_Item")


def active() -> str:
    """Return the workspace of MLflow's calls on this thread, "" if none is named; this imports and asks nothing."""
    return internals.active_workspace()


@contextlib.contextmanager
def in_workspace(workspace: str) -> Iterator[None]:
    """Use a workspace for MLflow's calls on this thread.

    Args:
        workspace: its name; "" for a run that began where none was named. If this process names one by now, MLflow's
            default workspace takes its place.
    """
    wanted = workspace or (DEFAULT_WORKSPACE if os.environ.get(VARIABLE, "").strip() else "")
    variable = internals.workspace_variable() if wanted else None
    if variable is None:
        yield
        return
    token = variable.set(wanted)
    try:
        yield
    finally:
        variable.reset(token)


def each_in_workspace(workspace: str, items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield items that calls of MLflow make, each made in a workspace; the caller's own calls are not."""
    source = iter(items)
    while True:
        with in_workspace(workspace):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item


def searched(client: Any) -> list[str]:
    """Return the workspaces in which a command looks for runs; [""] for a store without workspaces.

    That is the one that MLFLOW_WORKSPACE names, else all that the user may see, the default one first. If the server
    does not list them, a warning says so, and the server's own choice is searched. An MLflow that has no workspaces
    (before 3.10) does not read the variable.

    Args:
        client: a client of the tracking store.
    """
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen:
        return [chosen if internals.workspace_variable() is not None else ""]
    from mlflow.exceptions import MlflowException

    try:
        with own_calls():
            names = internals.workspaces(client.tracking_uri) if internals.has_workspaces(client.store) else []
    except MlflowException as error:
        if error.error_code != _UNKNOWN_TO_SERVER and not explained(error):  # without a server, the search fails, too
            logger().warning(
                "the workspaces of %s cannot be listed (%s): only the default one is searched; %s names another",
                without_credentials(client.tracking_uri), error.error_code, VARIABLE,
            )  # fmt: skip
        return [""]
    return sorted(names, key=lambda name: (name != DEFAULT_WORKSPACE, name)) or [""]
