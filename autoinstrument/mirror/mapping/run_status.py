"""How a Task ends: MLflow's status, and what is known of the process's end, to ClearML's status with a reason.

MLflow calls a run FINISHED when its at-exit handler ends it, also after a crash (mlflow#3932); what ended the process
is then the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from autoinstrument.records import ProcessExiting, RunEnded

_DIED = "the process died with the run still open"
_INTERRUPTED = "interrupted (KeyboardInterrupt)"
_UNENDED = "the process ended without ending the run"
_OF_MLFLOW = "MLflow: "
_STATUS = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "stopped"}


class End(NamedTuple):
    """The last status of a Task."""

    status: str
    """"completed", "failed" or "stopped"."""
    reason: str
    """One line."""
    message: str
    """The line of a traceback that names the exception, or "": ClearML's pages show it without line breaks."""
    traceback: str = ""
    """The whole traceback, which belongs to the console; "" where there is none, or the console has it."""


def of_run(ended: RunEnded, exiting: ProcessExiting | None = None) -> End:
    """Return the end of a run that was ended; `exiting` counts where the at-exit handler did it."""
    if ended.at_exit and exiting is not None and exiting.error:
        return of_error(exiting.error, interrupted=exiting.interrupted)
    status = _STATUS.get(ended.status, "stopped")
    if ended.error and is_interruption(ended.error):
        return of_error(ended.error, interrupted=True)
    if ended.error and status != "completed":
        return _with_traceback(status, named(ended.error), ended.error)
    return End(status, "" if status == "completed" else f"{_OF_MLFLOW}{ended.status}", "")


def is_interruption(error: str) -> bool:
    """Tell from a traceback whether Ctrl-C or another SIGINT is what ended a run; MLflow calls that FAILED."""
    return named(error).startswith("KeyboardInterrupt")


def of_error(error: str, *, interrupted: bool = False) -> End:
    """Return the end of a run whose process is ended by an exception; Ctrl-C is a stop and no failure."""
    if interrupted:
        return _with_traceback("stopped", _INTERRUPTED, error)
    return _with_traceback("failed", named(error), error)


def of_capture(kept: Mapping[str, str]) -> End:
    """Return the end that a capture has kept; older ones have the traceback for a message."""
    end = End(**kept)
    return _with_traceback(end.status, end.reason, end.message) if "\n" in end.message else end


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
    return End("stopped", f"{_DIED} ({cause})", "")


def of_silent_exit() -> End:
    """Return the end of a run that was open when its process ended itself, it is not known how."""
    return End("stopped", _UNENDED, "")


def is_of_a_process(reason: str, message: str) -> bool:
    """Tell whether a stopped Task's texts say that its process is gone; they are wrong where one is at work.

    ClearML has heard nothing of the process for two hours; or `sync` has not, on another machine (`journal.liveness`);
    or it was another process that had the run too.
    """
    is_silent = "non-responsive" in f"{reason} {message}".lower()
    return is_silent or reason.startswith((_DIED, _INTERRUPTED, _UNENDED))


def is_of_mlflow(reason: str) -> bool:
    """Tell whether a stopped Task's reason is that the run has ended in MLflow."""
    return reason.startswith(_OF_MLFLOW)


def _with_traceback(status: str, reason: str, error: str) -> End:
    return End(status, reason, named(error), error)


def named(error: str) -> str:
    """Return the line of a traceback that names its exception: the first that is not indented after the last frame.

    The lines of a group's own frames have a bar before them (Python 3.11 and later).
    """
    lines = [line.removeprefix("  | ") for line in error.splitlines() if line.strip()]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = lines[frames[-1] :] if frames else lines
    return next((line for line in after if not line[0].isspace()), "failed")[:500]
