"""The PYTHONPATH with which the agent starts in an environment that has no start-up file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoinstrument.bootstrap import startup_files

HOME = Path(startup_files.__file__).parents[2]


def test_the_hooks_folder_comes_first_and_the_given_path_last() -> None:
    given = os.pathsep.join(["/one", "/two"])
    first, *rest = startup_files.python_path(given).split(os.pathsep)
    assert Path(first, "sitecustomize.py").is_file()
    assert rest[-2:] == ["/one", "/two"]


def test_the_package_is_on_the_path_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup_files, "site_folders", list)
    assert startup_files.python_path("").split(os.pathsep)[1:] == [str(HOME)]
    assert startup_files.python_path(str(HOME)).split(os.pathsep)[1:] == [str(HOME)]
    monkeypatch.setattr(startup_files, "site_folders", lambda: [HOME])
    assert startup_files.python_path("").split(os.pathsep)[1:] == []


@pytest.mark.parametrize("name", ["autoinstrument-init.pth", "autoinstrument-init.start"])
def test_one_file_in_a_folder_of_packages_is_an_installation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup_files, "site_folders", lambda: [tmp_path / "user", tmp_path])
    assert not startup_files.are_installed()
    (tmp_path / name).touch()
    assert startup_files.are_installed()
