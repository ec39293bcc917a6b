"""Log lines about a process's runs: one each for a few, one summary for hundreds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoinstrument.agent import run_log
from autoinstrument.agent.run_log import RunLog
from autoinstrument.guard import logger

REASON = "no credentials; recorded, `autoinstrument sync` completes it later"


class Lines:
    """The agent's lines so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __call__(self) -> list[str]:
        new = list(self._caplog.messages)
        self._caplog.clear()
        return new


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """Returns the lines that the agent has logged since the last call."""
    logger().addHandler(caplog.handler)
    yield Lines(caplog)
    logger().removeHandler(caplog.handler)


def test_hundreds_of_runs_are_a_few_lines_and_a_summary(logged: Lines) -> None:
    log = RunLog()
    for number in range(200):
        assert log.linked(str(number), f"task {number}", f"run {number} is ClearML Task {number}")
    assert logged() == [f"run {number} is ClearML Task {number}" for number in range(5)]
    log.summarize()
    assert logged() == ["195 more runs have their ClearML Tasks; the last one: run 199 is ClearML Task 199"]
    log.summarize()
    assert logged() == []


def test_runs_that_begin_now_and_then_have_a_line_each(logged: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, whose end is days away."""
    now = 0.0
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now)
    log = RunLog()
    for number in range(20):
        log.linked(str(number), "task", f"run {number}")
        now += 150
    assert len(logged()) == 20


def test_a_reason_is_logged_once_and_its_other_runs_in_the_summary(logged: Lines) -> None:
    log = RunLog()
    for number in range(5):
        log.pending({str(number): f"fold {number}"}, REASON)
        log.pending({str(number): f"fold {number}"}, REASON)
    assert logged() == [f"run fold 0: {REASON}"]
    log.pending({"a": "other"}, "another reason")
    assert logged() == ["run other: another reason"]
    log.summarize()
    assert logged() == [f"4 runs (fold 1, fold 2, fold 3, …): {REASON}"]


def test_a_run_that_is_delivered_after_all_is_not_in_the_summary(logged: Lines) -> None:
    """The named run gets a line about its Task again; the others have got their lines before."""
    log = RunLog()
    for name in ("first", "second"):
        log.linked(name, "task", f"run {name} is ClearML Task task")
    for name in ("first", "second"):
        log.pending({name: name}, REASON)
        assert log.is_pending(name)
    assert logged()[2:] == [f"run first: {REASON}"]
    for name in ("first", "second"):
        log.linked(name, "task", f"run {name} is ClearML Task task")
        assert not log.is_pending(name)
    log.summarize()
    assert logged() == ["run first is ClearML Task task"]
