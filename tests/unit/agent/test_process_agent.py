"""Settings count as they are when the process's first run begins: a script may read a file `.env` after its imports."""

from __future__ import annotations

import os
from typing import Any

import pytest

from autoinstrument.agent import Agent, process_agent
from autoinstrument.agent.selective_agent import SelectiveAgent
from autoinstrument.agent.tracked_run import TrackedRun
from autoinstrument.records import ConsoleWritten
from autoinstrument.settings import TABLE

TEXT = ConsoleWritten("stdout", "before\n", 1)


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoinstrument.agent.process_console.ConsoleCapture.attach", lambda _: None)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    for name, value in {"_agent": None, "_refused": False, "_is_settled": False}.items():
        monkeypatch.setattr(process_agent, name, value)
    for setting in TABLE:
        monkeypatch.delenv(setting.variable, raising=False)


def made() -> Agent:
    agent = process_agent.agent()
    assert agent is not None
    return agent


def test_it_is_made_once() -> None:
    assert made() is made() is process_agent.existing()


def test_a_variable_that_is_set_before_the_first_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    first = made()
    first.post(TEXT)
    monkeypatch.setenv("AUTOINSTRUMENT_EXPERIMENTS", "!secret*")
    second = made()
    assert isinstance(second, SelectiveAgent)
    assert second.settings.experiments == ("!secret*",)
    assert second._sender.take_back() == [TEXT], "what was printed before is not lost"
    assert first._sender.take_back() == []


def test_text_is_not_kept_for_an_agent_that_wants_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    made().post(TEXT)
    monkeypatch.setenv("AUTOINSTRUMENT_CONSOLE", "off")
    assert made()._sender.take_back() == []


def test_one_that_is_set_later_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made()
    agent._runs["run"] = TrackedRun("run")
    monkeypatch.setenv("AUTOINSTRUMENT_QUIET", "1")
    assert made() is agent
    assert not agent.settings.quiet


def test_a_bad_value_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    lines: list[Any] = []
    monkeypatch.setattr(process_agent.logger(), "warning", lambda *line: lines.append(line))
    monkeypatch.setenv("AUTOINSTRUMENT_WORKER", "nonsense")
    assert process_agent.agent() is None
    monkeypatch.setenv("AUTOINSTRUMENT_WORKER", "thread")
    assert process_agent.agent() is None, "a refusal is final"
    assert len(lines) == 1


def test_at_exit_without_an_agent() -> None:
    process_agent.exiting()
    process_agent.finish()
