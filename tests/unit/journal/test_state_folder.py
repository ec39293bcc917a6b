"""Where the folder of journals is on each platform; `test_private_folders.py` tests that it is private."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autoinstrument.journal import state_folder
from autoinstrument.journal.state_folder import distrusted, home, nearest
from autoinstrument.settings import Settings


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder, where no variable names another."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", ".local/state/autoinstrument"),
        ("darwin", "Library/Application Support/autoinstrument"),
        ("win32", "AppData/Local/autoinstrument"),
    ],
)
def test_each_platform_has_its_folder(user: Path, monkeypatch: pytest.MonkeyPatch, platform: str, folder: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert home(Settings()) == user / folder


def test_variables_of_the_platform_win(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(user / "state"))
    assert home(Settings()) == user / "state" / "autoinstrument"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert home(Settings()) == user / ".local/state/autoinstrument"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(user / "local"))
    assert home(Settings()) == user / "local" / "autoinstrument"


def test_the_setting_wins(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(user)
    assert home(Settings(home="~/here")) == user / "here"
    assert home(Settings(home="there")) == user / "there"


def test_a_home_that_cannot_be_written_is_replaced(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (user / "temporary").mkdir()
    monkeypatch.setattr(state_folder.tempfile, "gettempdir", lambda: str(user / "temporary"))
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK and Path(path).exists())
    substitute = user / "temporary" / f"autoinstrument-state-{os.getuid()}"
    assert home(Settings()) == substitute
    substitute.symlink_to(user)  # another user has put it there
    assert home(Settings()) == user / ".local/state/autoinstrument"


def test_a_read_only_file_system_is_no_error(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds no temporary folder in such a container; journals cannot be kept, and the run is mirrored."""

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(state_folder.tempfile, "gettempdir", none)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK and Path(path).exists())
    assert home(Settings()) == user / ".local/state/autoinstrument"


def test_a_folder_is_trusted_on_windows_where_files_have_no_owner(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert distrusted(user) == "belongs to another user"
    monkeypatch.setattr(sys, "platform", "win32")
    assert distrusted(user) == ""


def test_the_nearest_folder_that_exists(user: Path) -> None:
    assert nearest(user / "a" / "b") == user
