"""The text of a process goes to its own runs, or to those of the process above or beside it while it has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.agent import process_console
from autoinstrument.agent.process_console import ProcessConsole
from autoinstrument.child_console import link, marks, plain_capture
from autoinstrument.records import ConsoleWritten
from autoinstrument.settings import Settings
from autoinstrument.transport.own_python import NoPythonError


class Link:
    """A link to the worker of another process."""

    is_connected = True
    forked_by: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_closed = False

    def write(self, stream: str, text: str, time_ms: int) -> None:
        self.sent.append(text)

    def take(self) -> list[Any]:
        return []

    def close(self) -> None:
        self.is_closed = True


class Captured:
    """The calls that the console's capture got."""

    def __init__(self, *_: object) -> None:
        self.is_attached = False

    def attach(self) -> None:
        self.is_attached = True


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ProcessConsole, Link, list[str]]]:
    """Make the console of a process, its link, and the list of what is posted for its own runs."""

    def make(mode: str = "python", *, belongs: bool) -> tuple[ProcessConsole, Link, list[str]]:
        link, posted = Link(), list[str]()
        monkeypatch.setattr(process_console, "ConsoleLink", lambda: link)
        monkeypatch.setattr(process_console, "ConsoleCapture", Captured)
        monkeypatch.setattr(plain_capture, "may_belong", lambda: belongs)

        def post(written: ConsoleWritten) -> None:
            posted.append(written.text)

        return ProcessConsole(Settings(console=mode), lambda *_: None, post), link, posted

    return make


def test_a_process_that_does_not_belong_to_another(console: Any) -> None:
    """Its text waits in the sender for its first run."""
    made, link, posted = console(belongs=False)
    made.route("stdout", "early")
    made.run_began(owned=True)
    made.route("stdout", "late")
    assert (posted, link.sent) == (["early", "late"], [])


def test_a_child_with_a_run_of_its_own(console: Any) -> None:
    """Its run has all of its text, the other one what was written before."""
    made, link, posted = console(belongs=True)
    made.route("stdout", "early")
    made.run_began(owned=False)
    made.route("stdout", "logs to the other run")
    assert (posted, link.sent) == ([], ["early", "logs to the other run"])
    made.run_began(owned=True)
    made.route("stdout", "late")
    assert posted == ["early", "logs to the other run", "late"]
    assert link.sent == ["early", "logs to the other run"]
    assert link.is_closed


def test_a_rank_on_another_machine_than_the_run(console: Any) -> None:
    """Nothing is found beside it; the worker of its own machine gets the text with what it logs."""
    made, link, posted = console(belongs=True)
    link.is_connected = False
    made.route("stdout", "early")
    made.run_began(owned=False)
    made.route("stdout", "late")
    assert posted == ["early", "late"]


def test_a_forked_child_of_a_process_with_a_run(console: Any) -> None:
    made, link, posted = console(belongs=False)
    made.run_began(owned=True)
    link.forked_by = (1,)
    made.forked()
    made.route("stdout", "of the child")
    assert (posted, link.sent) == ([], ["of the child"])


def test_waiting_text_is_bounded(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MOST_CHARACTERS", 10)
    made, _, posted = console(belongs=True)
    for text in ("first", "second", "third"):
        made.route("stdout", text)
    made.run_began(owned=True)
    assert posted == ["third"]


def test_waiting_text_is_bounded_in_number(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped text does not count any more: a child that prints for hours keeps its latest text."""
    monkeypatch.setattr(link, "MOST_CHARACTERS", 10)
    monkeypatch.setattr(link, "MOST_TEXTS", 3)
    made, _, posted = console(belongs=True)
    for number in range(100):
        made.route("stdout", str(number % 10))
    made.run_began(owned=True)
    assert posted == ["7", "8", "9"]


@pytest.mark.parametrize(("mode", "is_attached"), [("python", True), ("off", False), ("descriptors", False)])
def test_settings(console: Any, monkeypatch: pytest.MonkeyPatch, mode: str, is_attached: bool) -> None:
    monkeypatch.setattr(marks, "is_relayed", lambda: True)
    made, *_ = console(mode, belongs=False)
    assert made._console.is_attached is is_attached


@pytest.mark.may_report("AUTOINSTRUMENT_CONSOLE=python")
def test_without_a_relay_pythons_streams_are_captured(
    console: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python's streams are captured instead."""

    def fail(_: str) -> None:
        raise NoPythonError

    monkeypatch.setattr(marks, "is_relayed", lambda: False)
    monkeypatch.setattr("autoinstrument.child_console.descriptors.capture", fail)
    monkeypatch.delenv("CLEARML_TASK_ID", raising=False)
    made, *_ = console("descriptors", belongs=False)
    assert made._console.is_attached
