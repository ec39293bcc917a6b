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
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from autoinstrument.scrubber import hide_in_text

_TIME_LIMIT_S, TOTAL_S = 20.0, 60.0
"""Time limits of one command, and of all commands for one working copy."""
_MOST_BYTES = 16 * 1024 * 1024
_LOOK_S = 0.02
"""Pause between two looks at what a command has printed by then."""
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
    with _Command(folder, arguments, until) as command:
        return command.output(codes)


def ask(folder: Path, *arguments: str, until: float = math.inf) -> str:
    """Return what Git prints, stripped; "" if it ends with an error code: no upstream, no commit.

    Raises:
        GitError: Git could not be asked.
    """
    return ask_all(folder, arguments, until=until)[0]


def ask_all(folder: Path, *questions: Sequence[str], until: float = math.inf) -> list[str]:
    """Return what `ask` returns for each question; they are asked at the same time.

    Raises:
        GitError: Git could not be asked.
    """
    with contextlib.ExitStack() as stack:
        commands = [stack.enter_context(_Command(folder, question, until)) for question in questions]
        return [command.answer() for command in commands]


class _Command:
    """A command of Git's that has been started.

    It prints to files, and one thread waits for any number of commands: while the interpreter shuts down, from Python
    3.12 on no thread can be started, and before that an executor takes no work. That is when a worker that is a thread
    of the training process may get to capture the code.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], until: float) -> None:
        """Start the command; arguments and errors are those of `git`."""
        self._folder, self._arguments, self._until = folder, arguments, until
        self._start()

    def __enter__(self) -> _Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self) -> str:
        """Wait for the end; return what it has printed, see `ask`."""
        try:
            return self.output().decode("utf-8", "replace").strip()
        except ExitCodeError:
            return ""

    def output(self, codes: Iterable[int] = (0,)) -> bytes:
        """Wait for the end; return what it has printed, or raise an error, see `git`."""
        for _ in range(_MOST_SIGNALS):
            with contextlib.suppress(_SignalledError):
                return self._output(codes)
            self.close()
            self._start()
        return self._output(codes)

    def _start(self) -> None:
        self._limit_s = min(_TIME_LIMIT_S, self._until - time.monotonic())
        self._late_at = time.monotonic() + self._limit_s
        if self._limit_s <= 0:
            raise GitError(f"git took more than {TOTAL_S:.0f} s in all")
        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN} | _SETTINGS
        with contextlib.ExitStack() as files:
            try:
                self._printed = files.enter_context(_output_file())
                self._errors = files.enter_context(_output_file())
                self._process = subprocess.Popen(
                    ["git", *_OPTIONS, *self._arguments],
                    cwd=self._folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=self._printed,
                    stderr=self._errors,
                    start_new_session=True,  # so that filters it has started end with it
                )
            except (OSError, ValueError) as error:
                raise GitError(f"git cannot be run: {error}") from error
            self._files = files.pop_all()

    def close(self) -> None:
        """End the command, if it has not ended."""
        if self._process.poll() is None:
            _end(self._process)
            self._process.wait()
        self._files.close()

    def _output(self, codes: Iterable[int]) -> bytes:
        name = self._arguments[0]
        while not self._has_ended():
            if time.monotonic() >= self._late_at:
                raise GitError(f"git {name} took more than {self._limit_s:.0f} s")
            self._check_size()
        self._check_size()
        output, printed = (_beginning(file) for file in (self._printed, self._errors))
        if (code := self._process.returncode) not in codes:
            is_job_signal = code < 0 and code not in _KILLED
            raise (_SignalledError if is_job_signal else ExitCodeError)(
                f"git {name} ended with {code}{_fatal(printed)}"
            )
        return output

    def _check_size(self) -> None:
        # Not by reading while Git prints: both have one position in the file.
        if max(os.fstat(file.fileno()).st_size for file in (self._printed, self._errors)) > _MOST_BYTES:
            raise GitError(f"git {self._arguments[0]} printed more than {_MOST_BYTES // 1024**2} MB")

    def _has_ended(self) -> bool:
        """Return True once the command has ended, False after a moment."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LOOK_S)
            return True
        return False


def _output_file() -> IO[bytes]:
    """Return a file in memory where there are such, because a disk may be full or read-only; else a temporary one."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.fdopen(os.memfd_create("git"), "w+b")
    return tempfile.TemporaryFile()


def _beginning(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_MOST_BYTES)


def _fatal(printed: bytes) -> str:
    """Return the reason that Git printed, "" for none."""
    lines = hide_in_text(printed.decode("utf-8", "replace")).splitlines()
    reasons = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    return f": {reasons[0][:500]}" if reasons else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":  # Windows has no process groups of this kind
        with contextlib.suppress(OSError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
            return
    process.kill()
