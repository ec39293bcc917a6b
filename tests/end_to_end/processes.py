"""Scripts as processes, and waiting for a state that other processes bring about."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tests.problems import PROBLEMS

Value = TypeVar("Value")
PATIENCE_S = 240.0
"""Limit of every wait. It is generous: exceeding it means that something hangs, on a busy machine too."""

AT_ONCE_S = 60.0
"""Upper limit for work that waits for nothing, on a busy machine too.

A wait takes longer: 90 s for an answer that does not come, and 120 s at the exit of the tests' scripts.
"""

_PAUSE_S, _PAUSES = 0.05, 10
"""The pause before a condition is looked at again, in seconds, and in multiples of the CPU time that the look took."""


def wait_for(condition: Callable[[], Value], seconds: float = PATIENCE_S) -> Value:
    """Return the condition's first true value; fail with its last one when the time is over.

    Conditions that read MLflow's store or the list of processes take 5 to 10 ms of CPU time. Asked 20 times a second by
    each process that runs tests, they would keep a quarter of a core busy, while what they wait for needs it.
    """
    end = time.monotonic() + seconds
    while True:
        before_s = time.thread_time()
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"still {value!r} after {seconds:.0f} s")
        time.sleep(max(_PAUSE_S, _PAUSES * (time.thread_time() - before_s)))


class Finished(NamedTuple):
    """A script that has ended."""

    code: int
    """As `subprocess` gives it: negative for a signal."""
    stdout: str
    stderr: str
    seconds: float

    @property
    def agent_lines(self) -> list[str]:
        """The agent's own lines on stderr."""
        return [line for line in self.stderr.splitlines() if line.startswith("autoinstrument:")]


class Started:
    """A script that is running."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.since = time.monotonic()

    def kill(self, number: int) -> None:
        """Send a signal to the script."""
        self.process.send_signal(number)

    def finish(self, seconds: float = PATIENCE_S) -> Finished:
        """Wait for the end. Both streams are pipes, so a process that inherited them and lives on shows here."""
        try:
            stdout, stderr = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGRTMAX - 1)  # a fork of the fork server writes its threads' stacks
            time.sleep(2)
            self.process.send_signal(signal.SIGKILL)
            stdout, stderr = self.process.communicate()
            raise AssertionError(f"still running after {seconds:.0f} s:\n{stdout}\n{stderr}") from None
        seconds_taken = time.monotonic() - self.since
        PROBLEMS.read_stderr(_text(stderr))
        return Finished(self.process.returncode, _text(stdout), _text(stderr), seconds_taken)


def _text(data: bytes) -> str:
    """Return every byte as it was written, line ends too."""
    return data.decode("utf-8", "surrogateescape")
