"""The lines of a process have the name by which a person knows it."""

from __future__ import annotations

import multiprocessing.process
import os
import sys
from pathlib import Path

import pytest

from autoinstrument.child_console.process_name import process_name


class Named:
    name = "Loader-1"


@pytest.fixture(autouse=True)
def no_child(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.process, "parent_process", lambda: None)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/a/evaluate.py", "-x"])
    assert process_name() == f"evaluate.py {os.getpid()}"
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert process_name() == f"python {os.getpid()}"
    monkeypatch.setenv("RANK", "1")
    assert process_name() == "rank 1"
    monkeypatch.setattr(multiprocessing.process, "parent_process", lambda: 1)
    monkeypatch.setattr(multiprocessing.process, "current_process", Named)
    assert process_name() == "rank 1, Loader-1"
    monkeypatch.delenv("RANK")
    assert process_name() == "Loader-1"


def test_a_name_is_one_line_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["a\n\x1b[1m" + 100 * "b"])
    assert process_name() == "a[1m" + 56 * "b"
