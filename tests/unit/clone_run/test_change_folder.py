"""A clone's program starts in the folder that its Task names: one process below the agent changes to it, once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from autoinstrument.clone_run import change_folder, start
from autoinstrument.guard import logger

MODULE = ["python", "-u", "-m", "pkg.train", "--config", "configs/train.yaml"]


@pytest.fixture
def src(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a checkout, in which an agent has started the module `pkg.train`."""
    folder = tmp_path / "code" / "src"
    folder.mkdir(parents=True)
    (tmp_path / "code" / "runs").mkdir()
    (tmp_path / "code" / "away").symlink_to(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "orig_argv", MODULE)
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(start, "_description", None)
    monkeypatch.setenv("CLEARML_TASK_ID", "t")
    for name in ("AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_CLONE", "PYTHONPATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("CLEARML_OFFLINE_MODE", raising=False)
    return folder


def began(folder: str, **changed: str) -> Path:
    """Begin as a process that has inherited a Task with this start folder; return its working directory then."""
    os.environ["AUTOINSTRUMENT_CLONE"] = json.dumps({
        "task": "t", "run": "r", "settings": {}, "entry_point": "-m pkg.train", "start_folder": folder,
        "working_dir": "src", **changed,
    })  # fmt: skip
    assert start.begin()
    return Path.cwd()


@pytest.mark.parametrize(("folder", "expected"), [(".", "."), ("runs", "runs"), ("./runs/..", "."), ("src", "src")])
def test_the_program_starts_in_the_folder(src: Path, folder: str, expected: str) -> None:
    """The folder of its module is searched first, here and by children; no variable has the name of the line."""
    assert began(folder) == (src.parent / expected).resolve()
    assert sys.path[0] == os.environ["PYTHONPATH"] == str(src)
    assert "START_FOLDER" not in os.environ


def test_what_is_searched_already_keeps_its_place(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent puts the working folder on PYTHONPATH, behind what its own variable has."""
    monkeypatch.setenv("PYTHONPATH", given := os.pathsep.join(["/first", str(src)]))
    sys.path[:0] = ["/first", str(src)]
    began(".")
    assert (os.environ["PYTHONPATH"], sys.path[:2]) == (given, [str(src), "/first"])


@pytest.mark.parametrize("folder", ["..", "../..", "src/../..", "gone", "/", "away", "away/code/../.."])
def test_a_folder_that_is_not_of_the_code(src: Path, folder: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the program nor its children go there, and one line says so."""
    logger().addHandler(caplog.handler)
    try:
        assert began(folder) == src.resolve()
        assert start.begin()  # as a child
    finally:
        logger().removeHandler(caplog.handler)
    assert caplog.messages == [f"START_FOLDER={folder} of the Task is no folder of its code: the program starts in src"]
    assert os.environ["PYTHONPATH"] == ""


@pytest.mark.parametrize("place", [".", "src"])
def test_children_stay_where_their_parent_starts_them(src: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if they run the same module, as the ranks of a launcher do, in whichever folder."""
    began(".")
    monkeypatch.chdir(src.parent / place)
    sys.path.remove(str(src))
    assert start.begin()
    assert Path.cwd() == (src.parent / place).resolve()
    assert str(src) not in sys.path


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        (["python", "-m", "pkg.helper"], {}),
        (["python", "train.py"], {"entry_point": "train.py"}),  # Python opens it after the start-up files
        (["python", "-c", "import pkg"], {}),
        (MODULE, {"working_dir": "source"}),  # something else than the agent has started it elsewhere
        (MODULE, {"working_dir": "src/../src"}),
    ],
)
def test_processes_that_do_not_change(
    src: Path, command: list[str], changed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", command)
    assert began(".", **changed) == src.resolve()


def test_a_launcher_and_the_ranks_of_one_that_has_no_hook(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_point = "-m torch.distributed.run --log-dir logs -m pkg.train"
    assert began(".", entry_point=entry_point) == src.parent.resolve()  # a rank
    monkeypatch.chdir(src)
    monkeypatch.setattr(sys, "orig_argv", ["python", *entry_point.split()])
    assert began(".", entry_point=entry_point) == src.parent.resolve()


def test_folders_inside_and_outside(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    (top / "code").mkdir()
    (top / "code-two").mkdir()
    assert change_folder.inside(str(top / "code"), "a/b") == str(top / "code" / "a" / "b")
    assert change_folder.inside(str(top / "code"), "../code-two") == ""
    assert change_folder.inside("/", "tmp") == str(Path("/tmp").resolve())
