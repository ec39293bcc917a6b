"""Give every MLflow run a linked ClearML Task.

This file imports nothing, and must not: every interpreter of the environment runs it at start-up, switched on or not.
"""

__version__ = "0.1.0"


def init():
    # type: () -> None
    """Arm the agent if `AUTOINSTRUMENT_ENABLED` says so; what the start-up files call. Calling it again is harmless."""
    import os  # loaded by `site` already

    if os.environ.get("AUTOINSTRUMENT_ENABLED", "").strip().lower() in ("1", "true", "yes", "on"):
        from autoinstrument.bootstrap import arm

        arm()
