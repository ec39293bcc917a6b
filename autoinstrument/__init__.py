"""Give every MLflow run a linked ClearML Task.

The names in `__all__`, described in the file `__init__.pyi` beside this one, and the command line are public. All else
may change in any version.

This file imports nothing, and must not: every interpreter of the environment runs it at start-up, switched on or not.
"""


def init():
    # type: () -> None
    """Arm the agent if `AUTOINSTRUMENT_ENABLED` is on, or if it is not set and a ClearML agent runs a mirrored Task.

    The start-up files call this function. Calling it again changes nothing.
    """
    import os  # loaded by `site` already

    switch, on = os.environ.get("AUTOINSTRUMENT_ENABLED", "").strip(), False
    if switch:
        from autoinstrument.switch import is_on

        on = is_on(switch)
    if os.environ.get("AUTOINSTRUMENT_EXPLAIN"):
        import sys

        from autoinstrument.bootstrap.explain_log import note

        note("started", sys.executable)
        note("on" if on else "off", switch)
    if (on or not switch) and (os.environ.get("CLEARML_TASK_ID") or os.environ.get("TRAINS_TASK_ID")):
        from autoinstrument.clone_run.start import begin

        on = begin() or on
    if on:
        from autoinstrument.bootstrap.import_hook import arm

        arm()


def load_ipython_extension(shell):
    # type: (object) -> None
    """Switch the agent on for this kernel and its child processes: `%load_ext autoinstrument` in a cell."""
    import os

    os.environ["AUTOINSTRUMENT_ENABLED"] = "1"
    init()


__all__ = ["init", "is_active", "task_of", "wait_delivered"]


def __getattr__(name):
    # type: (str) -> object
    if name in __all__:
        from autoinstrument.agent import public

        return getattr(public, name)
    if name == "__version__":
        from autoinstrument._version import __version__

        return __version__
    raise AttributeError("module 'autoinstrument' has no attribute " + repr(name))
