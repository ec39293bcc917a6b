"""Map MLflow's status and the end of the process to the end of a Task: ClearML's status with a reason.

MLflow calls a run FINISHED when its at-exit handler ends it, also after a crash (mlflow#3932); the end of the process
counts then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.mirror.mapping.hyperparameters import PROPERTIES
from autoinstrument.mirror.mapping.links import ENDED
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ProcessExiting, RunEnded

_DIED = "the process died with the run still open"
_INTERRUPTED = "interrupted (KeyboardInterrupt)"
_UNENDED = "the process ended without ending the run"
_SILENT = "no sign of life"
_OF_EXIT_CODE, _OUT_OF_MEMORY = "the process ended with exit code", "killed by the system: out of memory"
_OF_MLFLOW = "MLflow: "
FOLLOWED = "the run goes on, and a follower mirrors it"
"""The reason by which a follower sets a Task running again, see `sync.running_run`."""
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
    """The whole traceback, which belongs to the console; "" if there is none, or the console has it."""


def of_run(ended: RunEnded, exiting: ProcessExiting | None = None) -> End:
    """Return the end of a run that was ended; `exiting` counts if the at-exit handler ended it."""
    if ended.at_exit and exiting is not None and exiting.error:
        return of_error(exiting.error, interrupted=exiting.interrupted)
    status = _STATUS.get(ended.status, "stopped")
    if ended.error and is_interruption(ended.error):
        return of_error(ended.error, interrupted=True)
    if ended.error and status != "completed":
        return _with_traceback(status, named(ended.error), ended.error)
    return End(status, "" if status == "completed" else f"{_OF_MLFLOW}{ended.status}", "")


def is_interruption(error: str) -> bool:
    """Return True if a traceback says that Ctrl-C or another SIGINT ended a run; MLflow calls that FAILED."""
    return named(error).startswith("KeyboardInterrupt")


def of_error(error: str, *, interrupted: bool = False) -> End:
    """Return the end of a run whose process is ended by an exception; Ctrl-C is a stop, not a failure."""
    if interrupted:
        return _with_traceback("stopped", _INTERRUPTED, error)
    return _with_traceback("failed", named(error), error)


def of_journal(kept: Mapping[str, str]) -> End:
    """Return the end that a journal has kept; in older journals the message is the whole traceback."""
    end = End(**kept)
    return _with_traceback(end.status, end.reason, end.message) if "\n" in end.message else end


def of_exit_code(code: int) -> End:
    """Return the end of a run that was open when the process ended itself with this exit code."""
    if code == 0:
        return End("completed", "", "")
    return End("failed", f"{_OF_EXIT_CODE} {code}", "")


def of_death(*, out_of_memory: bool, signal: str = "") -> End:
    """Return the end of a run whose process died without running its at-exit handlers."""
    if out_of_memory:
        return End("failed", _OUT_OF_MEMORY, "")
    cause = f"signal {signal}" if signal else "a signal or os._exit"
    return End("stopped", f"{_DIED} ({cause})", "")


def is_of_death(reason: str) -> bool:
    """Return True if a Task's reason is that its process died without running its at-exit handlers, see `of_death`."""
    return reason.startswith((_DIED, _OUT_OF_MEMORY))


def of_silent_exit() -> End:
    """Return the end of a run that was open when its process ended itself in an unknown way."""
    return End("stopped", _UNENDED, "")


def of_silence(since: str, host: str) -> End:
    """Return the end of a run whose process, and everything else on its machine, was silent for too long.

    Args:
        since: the time of its last sign of life, as a person reads it.
        host: name of its machine, "" if that is not known.
    """
    return End("stopped", f"{_SILENT} since {since}" + (f" from {host}" if host else ""), "")


def is_of_silence(reason: str) -> bool:
    """Return True if a stopped Task's reason is that its process was silent, see `of_silence`."""
    return reason.startswith(_SILENT)


def is_of_a_process(reason: str, message: str) -> bool:
    """Return True if a stopped Task's texts say that its process is gone; they are wrong if the process is at work.

    The texts are there because ClearML got nothing from the process for two hours, because `sync` on another machine
    did not (`journal.liveness`, `sync.silent_runs`), or because another process that logged to the run ended.
    """
    is_silent = "non-responsive" in f"{reason} {message}".lower()
    return is_silent or reason.startswith((_DIED, _INTERRUPTED, _UNENDED, _SILENT))


def is_of_agent(task: Mapping[str, Any]) -> bool:
    """Return True if an agent or `sync`, and no person, has set a Task to `completed`, `failed` or `closed`.

    They note the end of the run on the Task before they end it, or give the end of the process as the reason if the run
    was left open. The server also names the user who has changed a Task last, but an agent has a person's credentials.
    """
    held = (task.get("hyperparams") or {}).get(PROPERTIES) or {}
    return ENDED in held or str(task.get("status_reason") or "").startswith((_OF_EXIT_CODE, _OUT_OF_MEMORY))


def is_of_mlflow(reason: str) -> bool:
    """Return True if a stopped Task's reason is that the run has ended in MLflow."""
    return reason.startswith(_OF_MLFLOW)


def _with_traceback(status: str, reason: str, error: str) -> End:
    return End(status, reason, named(error), error)


def named(error: str) -> str:
    """Return the line of a traceback that names its exception: the first line after the last frame without indentation.

    In an exception group the lines of the group's frames begin with a bar (Python 3.11 and later).
    """
    lines = [line.removeprefix("  | ") for line in error.splitlines() if line.strip()]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = lines[frames[-1] :] if frames else lines
    return next((line for line in after if not line[0].isspace()), "failed")[:500]
