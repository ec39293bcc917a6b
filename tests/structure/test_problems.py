"""A problem that the agent reports is found by the fixture that fails its test."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.guard import guard
from tests.problems import OF_FAULTS, PROBLEMS, Problems, unexpected

LOG = """\
2026-01-02 03:04:05,678 [12] INFO delivered
2026-01-02 03:04:05,679 [12] WARNING run 1: refused
Traceback (most recent call last):
KeyError: 'x'
2026-01-02 03:04:05,680 [12] ERROR run 2: lost
"""


@pytest.mark.swallows("^doing this: ValueError: boom$")
def test_an_error_that_a_guard_swallows() -> None:
    for _ in range(2):
        with guard("doing this"):
            raise ValueError("boom")
    assert PROBLEMS.swallowed == ["doing this: ValueError: boom"] * 2


def test_lines_of_log_files_are_read_once(tmp_path: Path) -> None:
    problems = Problems()
    problems.watch(tmp_path)
    problems.watch(tmp_path)
    assert list(problems.reported()) == []
    (tmp_path / "worker.log").write_text(LOG)
    assert [line.partition("] ")[2] for line in problems.reported()] == ["WARNING run 1: refused", "ERROR run 2: lost"]
    with (tmp_path / "worker.log").open("a") as file:
        file.write(LOG[-48:])
    assert [line.partition("] ")[2] for line in problems.reported()] == ["ERROR run 2: lost"]


def test_errors_that_a_script_swallowed() -> None:
    problems = Problems()
    problems.read_stderr(
        "Epoch 1\nautoinstrument: run a is ClearML Task b\n"
        "autoinstrument: mirroring log_metric failed, training goes on (TypeError: x)\n"
    )
    found = ["autoinstrument: mirroring log_metric failed, training goes on (TypeError: x)"]
    assert list(problems.reported()) == found
    assert unexpected(found, [r"log_metric failed"]) == []
    assert unexpected(found, [r"log_param failed"]) == found


def test_no_fault_excuses_a_mistake_in_the_code() -> None:
    problems = ["writing the journal failed, training goes on (OSError: No space)", "x failed (KeyError: 'x')"]
    assert unexpected(problems, [OF_FAULTS]) == problems[1:]
