"""Decide whether MLflow's version and the settings allow for the agent; asked while MLflow is imported, or later."""

from __future__ import annotations

from autoinstrument.bootstrap.explain_log import note

_wanted: bool | None = None


def is_wanted() -> bool:
    """Tell whether MLflow's version and the settings allow for the agent; what does not is said once.

    For where MLflow is being imported, or has been: its import would ask here in turn.
    """
    global _wanted
    if _wanted is None:
        _wanted = False  # where what follows fails, the second module is not to fail in the same way
        from mlflow.version import VERSION

        from autoinstrument.agent import agent
        from autoinstrument.integrations.mlflow_tracking import is_supported

        # The version first: an agent listens to the console from the moment it is there.
        supported = is_supported(VERSION)
        if not supported:
            note("unsupported", VERSION)
        _wanted = supported and agent() is not None
    return _wanted
