"""Run a command with its steps noted (`autoinstrument.bootstrap.explain_log`), and read what was noted."""

from __future__ import annotations

import os
import subprocess
import sys
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

Steps = dict[str, list[str]]
"""Details by step, in the order in which they were noted, of all processes of the command."""


class Traced(NamedTuple):
    """A command that has ended."""

    code: int
    steps: Steps
    stdout: str = ""
    stderr: str = ""


def run_traced(
    command: Sequence[str], environ: dict[str, str], *, stdout: int | None = None, seconds: float | None = None
) -> Traced:
    """Run a command to its end, its streams being this process's (or `stdout` in place of its stdout).

    With `seconds` its output is kept instead, and it is ended when these are over.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it was ended.
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
            while True:
                try:
                    code = process.wait()
                    break
                except KeyboardInterrupt:  # the command has it too, and decides
                    continue
        return Traced(code, _read(path))
    finally:
        path.unlink(missing_ok=True)


def probe(switch: str | None) -> Traced:
    """Import MLflow in a process of this environment; stdout is its tracking URI.

    Raises:
        OSError, subprocess.TimeoutExpired: as `run_traced`.
    """
    environ = dict(os.environ)
    if switch is not None:
        environ["AUTOINSTRUMENT_ENABLED"] = switch
    return run_traced([sys.executable, "-c", own_python.clean(_PROBE)], environ, seconds=_PROBE_S)


def _read(path: Path) -> Steps:
    steps: defaultdict[str, list[str]] = defaultdict(list)
    for step, detail in _lines(path):
        steps[step].append(detail)
    return steps


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        for line in file.read(_MAX_TRACE).splitlines():
            try:
                _, step, detail = parse(line)
            except (ValueError, TypeError):  # cut off, or somebody else's
                continue
            yield str(step), str(detail)
