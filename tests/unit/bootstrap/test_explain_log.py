"""Steps are appended to a file that exists already, and nothing that goes wrong with it reaches the training."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from autoinstrument.bootstrap.explain_log import VARIABLE, note


def test_a_line_for_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "steps"
    file.touch()
    monkeypatch.setenv(VARIABLE, str(file))
    note("armed", "x" * 5000)
    note("wrapped", ValueError("why"))
    first, second = map(json.loads, file.read_text().splitlines())
    assert first == [os.getpid(), "armed", "x" * 2000]
    assert second == [os.getpid(), "wrapped", "why"]


def test_no_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "steps"))
    note("armed")
    monkeypatch.delenv(VARIABLE)
    note("armed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no O_NOFOLLOW")
def test_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "victim").touch()
    (tmp_path / "steps").symlink_to(tmp_path / "victim")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "steps"))
    note("armed")
    assert (tmp_path / "victim").read_text() == ""
