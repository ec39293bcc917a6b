from __future__ import annotations

import sys

import pytest

from autoinstrument.agent.exit_cause import exiting
from autoinstrument.records import ProcessExiting


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a script: nothing interactive, and no exception so far."""
    for name in ("ps1", "last_value"):
        monkeypatch.delattr(sys, name, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def test_a_process_that_ends_well() -> None:
    assert exiting(1.5) == ProcessExiting("", False, 1.5)


@pytest.mark.parametrize(
    ("error", "last", "interrupted"),
    [(ValueError("bad"), "ValueError: bad", False), (KeyboardInterrupt(), "KeyboardInterrupt", True)],
)
def test_the_exception_that_ends_it(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, last: str, interrupted: bool
) -> None:
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    found = exiting(1.0)
    assert (found.error.splitlines()[-1], found.interrupted) == (last, interrupted)


def test_the_end_of_a_long_traceback_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "last_value", ValueError("x" * 100_000 + "end"), raising=False)
    found = exiting(1.0)
    assert (len(found.error), found.error.strip()[-3:]) == (64_000, "end")


@pytest.mark.parametrize("where", ["interpreter", "notebook"])
def test_an_earlier_input_does_not_end_an_interactive_process(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(sys, "last_value", ValueError("bad"), raising=False)
    if where == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    else:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert exiting(1.0).error == ""
