"""Output of `python3 -m tests` and the demo while they install: size and time before, progress meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import __main__ as setup


def test_a_long_installation_shows_what_it_does(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person sees that it goes on, although pip is silent for minutes."""
    monkeypatch.setattr(setup, "_HEARTBEAT_S", 0.05)
    code = "import sys, time; print('Collecting mlflow', flush=True); sys.stdin.read(); time.sleep(1)"
    setup._run_with_progress([sys.executable, "-c", code])
    shown = capfd.readouterr()
    assert " s: Collecting mlflow\n" in shown.out
    assert shown.err == ""


def test_an_installation_that_fails_prints_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(setup.SetupError, match="this failed"):
        setup._run_with_progress([sys.executable, "-c", "print('no such package'); raise SystemExit(1)"])
    assert capfd.readouterr().err == "no such package\n"


def test_size_and_time_are_named_before(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(setup, "_run_with_progress", commands.append)
    monkeypatch.setattr(setup, "_run", lambda command: (tmp_path / "venv").mkdir())
    monkeypatch.setattr(setup, "_version", lambda python: "3.11" if str(tmp_path) not in python else "")
    setup.environment(("test", "frameworks"), folder=tmp_path / "venv")
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "installing" in line]
    assert line.endswith("about 2.9 GB on disk, which takes some 9 minutes if pip must download all of it")
    assert [command[-2:] for command in commands] == [["--upgrade", "pip>=25.1"], ["--editable", "."]]
