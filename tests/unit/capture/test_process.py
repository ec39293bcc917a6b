"""How the training process describes itself where the platform has no names of machines and users as POSIX has them."""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType

import pytest

from autoinstrument.capture.process import Changes

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_names_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delattr(os, "uname")
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("COMPUTERNAME", "LAB-7")
    process = Changes().describe()
    assert (process.host, process.user) == ("LAB-7", "")
    monkeypatch.setenv("USERNAME", "ada")
    assert Changes().describe().user == "ada"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_container_whose_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    assert Changes().describe().user == ""


def test_the_time_is_one_at_which_the_process_is_alive() -> None:
    before = int(time.time() * 1000)
    assert before <= Changes().describe().started_ms <= int(time.time() * 1000)


@pytest.mark.parametrize(
    ("command", "source"),
    [
        (["python", "-Xdev", "-Bc", "import train", "-x"], "import train"),
        (["python", "-m", "debugpy", "--listen", "5678", "-c", "import train"], ""),
    ],
)
def test_the_text_of_a_command(monkeypatch: pytest.MonkeyPatch, command: list[str], source: str) -> None:
    """A debugger sets `sys.argv` as Python would, and keeps the text to itself."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(sys, "orig_argv", command)
    monkeypatch.setattr(sys, "argv", ["-c"])
    process = Changes().describe()
    assert (process.main_kind, process.source) == ("command", source)
