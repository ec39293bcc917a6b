"""Run Git with a time limit, so that it only reads: nothing is fetched, locked or changed, and nothing prompts.

Git starts no program that the repository's configuration names (hooks, fsmonitor, external diff, textconv). Clean
filters (Git LFS) run: without them a diff would be wrong.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from autoinstrument.scrubber import hide_in_text

_TIME_LIMIT_S, TOTAL_S = 20.0, 60.0
"""Time limits of one command, and of all commands for one working copy."""
_MAX_STDERR, _STDERR_S = 2000, 1.0
"""Bytes kept of Git's stderr, and how long to wait for its end when Git has ended."""
_MOST_BYTES = 16 * 1024 * 1024
_MOST_SIGNALS = 2
"""Repetitions of a command that a signal has ended: a job may get one signal before SIGTERM, and then SIGTERM."""
_KILLED = {-getattr(signal, name, 0) for name in ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGSYS")}
"""Exit codes for lack of memory and for Git's own errors: a second attempt would fail, too."""
# Set inside Git's hooks, they would point every call at another repository (`git rev-parse --local-env-vars`, less
# GIT_CONFIG_COUNT, by which containers say safe.directory).
_FOREIGN = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}  # fmt: skip
_SETTINGS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone would fetch what a diff needs; Git knows the variable since 2.44
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "LC_ALL": "C",
}
_OPTIONS = ["--no-pager", "-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "-c", "diff.relative=false"]
# GIT_OPTIONAL_LOCKS does not keep `git diff` (2.39) from writing the index, in passing, to spare itself work next time.
_OPTIONS += ["-c", "diff.autoRefreshIndex=false"]


class GitError(Exception):
    """Git is not installed, refused, took too long, or printed too much."""


class ExitCodeError(GitError):
    """Git ended with an unexpected exit code, which may be the answer to a question."""


class _SignalledError(ExitCodeError):
    """A signal for the training has ended Git: schedulers signal all processes of a job."""


def git(folder: Path, *arguments: str, codes: Iterable[int] = (0,), until: float = math.inf) -> bytes:
    """Return what `git ARGUMENTS` prints in the folder.

    Args:
        folder: where Git is run.
        *arguments: they begin with the command's name.
        codes: exit codes that are not errors.
        until: deadline of all commands for a working copy, in seconds of the monotonic clock.

    Raises:
        ExitCodeError: it ended with another exit code.
        GitError: it could not be run, or exceeded a limit (20 s, 16 MB).
    """
    for _ in range(_MOST_SIGNALS):
        with contextlib.suppress(_SignalledError):
            return _git(folder, arguments, codes, until)
    return _git(folder, arguments, codes, until)


def _git(folder: Path, arguments: tuple[str, ...], codes: Iterable[int], until: float) -> bytes:
    limit_s = min(_TIME_LIMIT_S, until - time.monotonic())
    if limit_s <= 0:
        raise GitError(f"git took more than {TOTAL_S:.0f} s in all")
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN} | _SETTINGS
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            ["git", *_OPTIONS, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=write_end,
            start_new_session=True,  # so that filters it has started end with it
        )
    except (OSError, ValueError) as error:
        os.close(read_end)
        raise GitError(f"git cannot be run: {error}") from error
    finally:
        os.close(write_end)
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    printed = bytearray()
    reader = threading.Thread(target=_read_stderr, args=(read_end, printed), daemon=True)
    reader.start()
    try:
        with process:
            output = process.stdout.read(_MOST_BYTES + 1) if process.stdout else b""
            if len(output) > _MOST_BYTES:
                _end(process)
    finally:
        timer.cancel()
    reader.join(_STDERR_S)
    if late.is_set():
        raise GitError(f"git {arguments[0]} took more than {limit_s:.0f} s")
    if len(output) > _MOST_BYTES:
        raise GitError(f"git {arguments[0]} printed more than {_MOST_BYTES // 1024**2} MB")
    if process.returncode not in codes:
        is_job_signal = process.returncode < 0 and process.returncode not in _KILLED
        raise (_SignalledError if is_job_signal else ExitCodeError)(
            f"git {arguments[0]} ended with {process.returncode}{_fatal(bytes(printed))}"
        )
    return output


def _read_stderr(file: int, printed: bytearray) -> None:
    """Keep the beginning of what a pipe brings, and close the pipe at its end."""
    # A filter may print any amount, and must not wait for a reader; one that leaves a process behind keeps it open.
    with contextlib.suppress(OSError):
        while data := os.read(file, 2**16):
            printed += data[: _MAX_STDERR - len(printed)]
    os.close(file)


def _fatal(printed: bytes) -> str:
    """Return the reason that Git printed, "" for none."""
    lines = hide_in_text(printed.decode("utf-8", "replace")).splitlines()
    reasons = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    return f": {reasons[0][:500]}" if reasons else ""


def ask(folder: Path, *arguments: str, until: float = math.inf) -> str:
    """Return what Git prints, stripped; "" if it ends with an error code: no upstream, no commit.

    Raises:
        GitError: Git could not be asked.
    """
    try:
        return git(folder, *arguments, until=until).decode("utf-8", "replace").strip()
    except ExitCodeError:
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":  # Windows has no process groups of this kind
        with contextlib.suppress(OSError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
            return
    process.kill()
