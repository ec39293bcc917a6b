"""How a Task ends: MLflow's status, and what is known of the process's end, to ClearML's status with a reason.

MLflow calls a run FINISHED when its at-exit handler ends it, also after a crash (mlflow#3932); what ended the process
is then the truth.
"""

from __future__ import annotations

from typing import NamedTuple

from autoinstrument.records import ProcessExiting, RunEnded

_STATUS = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "stopped"}


class End(NamedTuple):
    """The last status of a Task."""

    status: str
    """"completed", "failed" or "stopped"."""
    reason: str
    """One line."""
    message: str
    """A traceback, or ""."""


def of_run(ended: RunEnded, exiting: ProcessExiting | None = None) -> End:
    """Return the end of a run that was ended; `exiting` counts where the at-exit handler did it."""
    if ended.at_exit and exiting is not None and exiting.error:
        return of_error(exiting.error, interrupted=exiting.interrupted)
    status = _STATUS.get(ended.status, "stopped")
    if ended.error and is_interruption(ended.error):
        return of_error(ended.error, interrupted=True)
    if ended.error and status != "completed":
        return End(status, _last_line(ended.error), ended.error)
    return End(status, "" if status == "completed" else f"MLflow: {ended.status}", "")


def is_interruption(error: str) -> bool:
    """Tell from a traceback whether Ctrl-C or another SIGINT is what ended a run; MLflow calls that FAILED."""
    return _last_line(error).startswith("KeyboardInterrupt")


def of_error(error: str, *, interrupted: bool = False) -> End:
    """Return the end of a run whose process is ended by an exception; Ctrl-C is a stop and no failure."""
    if interrupted:
        return End("stopped", "interrupted (KeyboardInterrupt)", error)
    return End("failed", _last_line(error), error)


def of_exit_code(code: int) -> End:
    """Return the end of a run that was open when the process ended itself with this exit code."""
    if code == 0:
        return End("completed", "", "")
    return End("failed", f"the process ended with exit code {code}", "")


def of_death(*, out_of_memory: bool, signal: str = "") -> End:
    """Return the end of a run whose process died without running its at-exit handlers."""
    if out_of_memory:
        return End("failed", "killed by the system: out of memory", "")
    cause = f"signal {signal}" if signal else "a signal or os._exit"
    return End("stopped", f"the process died with the run still open ({cause})", "")


def _last_line(error: str) -> str:
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else "failed"
