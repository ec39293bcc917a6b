"""Lines of the agent go to the process's own stderr, and nowhere else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from autoinstrument.guard import guard

# In a separate interpreter: the test changes descriptor 2.
BEGINNING = """
import contextlib, io, os, sys, tempfile
from autoinstrument.guard import logger
warn = logger().warning
warn("before")
"""


def stderr_of(script: str) -> list[str]:
    command = [sys.executable, "-c", BEGINNING + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return [line.removeprefix("autoinstrument: ") for line in done.stderr.splitlines()]


def test_not_to_a_redirect_stderr_block() -> None:
    script = """
with contextlib.redirect_stderr(io.StringIO()) as text:
    warn("inside")
assert text.getvalue() == ""
sys.stderr = open(os.devnull, "w")
warn("after")
"""
    assert stderr_of(script) == ["before", "inside", "after"]


def test_a_terminal_obeys_no_name_of_a_run() -> None:
    """Names of runs come from whoever may write to MLflow."""
    script = r"""
warn("run %s", "\x1b]0;title\x07\x1b[31mred\u202e\x00 \U0001f600 ä\tb")
"""
    (_, line) = stderr_of(script)
    assert line == r"run \x1b]0;title\x07\x1b[31mred\u202e\x00 😀 ä\x09b"


def test_not_to_a_capture_of_descriptor_2() -> None:
    """As pytest's `capfd` does for one test."""
    script = """
kept = os.dup(2)
with tempfile.TemporaryFile() as file:
    os.dup2(file.fileno(), 2)
    warn("inside")
    file.seek(0)
    assert file.read() == b""
os.dup2(kept, 2)
warn("after")
"""
    assert stderr_of(script) == ["before", "after"]


def test_not_to_a_file_that_has_got_the_number_of_stderr() -> None:
    script = """
os.close(2)
with tempfile.TemporaryFile(buffering=0) as file:
    assert file.fileno() == 2
    warn("inside")
    file.seek(0)
    assert file.read() == b""
"""
    assert stderr_of(script) == ["before"]


@pytest.mark.parametrize(
    ("replace", "lines"),
    [
        ("sys.stderr = io.TextIOWrapper(sys.stderr.buffer, 'utf-8')", ["before", "after"]),
        ("sys.stderr = io.TextIOWrapper(sys.stderr.detach(), 'utf-8')", ["before", "after"]),
        ("sys.stderr = None", ["before", "after"]),
        ("sys.stderr.close()", ["before"]),
        ("sys.stderr = sys.__stderr__ = None", ["before"]),
        ("os.close(2)", ["before"]),
    ],
)
def test_streams_that_were_replaced_or_closed(replace: str, lines: list[str]) -> None:
    assert stderr_of(f"{replace}\nwarn('after')\n") == lines


def test_an_error_of_several_lines_is_reported_in_one() -> None:
    script = """
from autoinstrument.guard import guard
with guard("reading"):
    raise ValueError("no database\\n[SQL: SELECT 1]\\n")
warn("cannot be listed (%s)", "set\\nthe variable")
"""
    assert stderr_of(script)[1:] == [
        "reading failed, training goes on (ValueError: no database)",
        "cannot be listed (set the variable)",
    ]


class TimeIsUpError(Exception):
    pass


class Handlers:
    """Ways to write a signal handler."""

    def method(self, number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise TimeIsUpError

    def any_arguments(self, *_: object) -> None:
        raise TimeIsUpError

    def deep(self, number: int, frame: object) -> None:
        self.any_arguments()


@pytest.mark.parametrize("name", ["method", "any_arguments", "deep"])
def test_what_a_signal_handler_raises_is_the_scripts(name: str) -> None:
    """It may interrupt the agent's own work: a time limit, or the end of a job that is preempted."""
    before = signal.signal(signal.SIGUSR1, getattr(Handlers(), name))
    try:
        with pytest.raises(TimeIsUpError), guard("mirroring log_metric"):
            json.loads("1", object_hook=None, parse_int=lambda _: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.swallows("the agent's own work")
def test_what_the_agent_raises_is_not() -> None:
    def own(frame: object, *more: object) -> None:
        raise ValueError

    with guard("the agent's own work"):
        own(1, 2)
