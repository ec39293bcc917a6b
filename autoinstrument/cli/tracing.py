"""Run a command that logs the agent's steps (`autoinstrument.bootstrap.explain_log`), and read that log."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autoinstrument.bootstrap.explain_log import VARIABLE
from autoinstrument.records import parse
from autoinstrument.transport import own_python

_MAX_TRACE = 16 * 2**20
_PROBE_S = 60.0
_PROBE = "import mlflow; print(mlflow.get_tracking_uri())"

StepDetails = dict[str, list[str]]
"""Details by step, in the order in which all processes of the command logged them."""


class Traced(NamedTuple):
    """A command that has ended."""

    code: int
    steps: StepDetails
    stdout: str = ""
    stderr: str = ""


def run_traced(
    command: Sequence[str], environ: dict[str, str], *, stdout: int | None = None, seconds: float | None = None
) -> Traced:
    """Run a command to its end and return its steps.

    Args:
        command: program and arguments.
        environ: its whole environment.
        stdout: descriptor of its stdout; None for that of this process.
        seconds: time limit; with one, the command has no stdin, and its output is returned.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    descriptor, name = tempfile.mkstemp(prefix="autoinstrument-explain-")
    os.close(descriptor)
    path = Path(name)
    try:
        environ = {**environ, VARIABLE: name}
        if seconds is not None:
            done = subprocess.run(
                list(command), env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=seconds, check=False,
            )  # fmt: skip
            return Traced(done.returncode, _read(path), done.stdout, done.stderr)
        with subprocess.Popen(list(command), env=environ, stdout=stdout) as process:
            code = wait(process)
        return Traced(code, _read(path))
    finally:
        path.unlink(missing_ok=True)


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process on the same terminal and return its exit code; Ctrl-C is for that process to handle."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def probe(switch: str | None) -> Traced:
    """Import MLflow in a process of this environment; stdout is its tracking URI.

    Raises:
        OSError, subprocess.TimeoutExpired: as `run_traced`.
    """
    environ = dict(os.environ)
    if switch is not None:
        environ["AUTOINSTRUMENT_ENABLED"] = switch
    if (python := own_python.interpreter()) is None:
        raise own_python.NoPythonError
    return run_traced([python, "-c", own_python.clean(_PROBE, python)], environ, seconds=_PROBE_S)


def _read(path: Path) -> StepDetails:
    steps: defaultdict[str, list[str]] = defaultdict(list)
    for step, detail in _lines(path):
        steps[step].append(detail)
    return steps


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        for line in file.read(_MAX_TRACE).splitlines():
            try:
                _, step, detail = parse(line)
            except (ValueError, TypeError):  # cut off, or written by another program
                continue
            yield str(step), str(detail)
