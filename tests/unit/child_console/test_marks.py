"""Processes below and beside one that has a run find its worker; the mark of another user is not trusted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autoinstrument.child_console import marks
from autoinstrument.child_console.process_table import identity

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no marks on Windows")


@pytest.fixture
def folder(runtime: Path) -> str:
    (runtime / "w").mkdir(mode=0o700)
    return str(runtime / "w")


def test_a_mark_is_found_by_the_process_that_has_left_it(folder: str, marks_folder: Path) -> None:
    assert marks.find([os.getpid()]) is None
    marks.leave(folder, owned=True)
    found = marks.find([os.getpid()])
    assert found is not None
    assert (found.pid, found.worker, found.files) == (os.getpid(), folder, {marks.file_of(1), marks.file_of(2)})
    marks.remove(os.getpid())
    assert marks.find([os.getpid()]) is None
    assert not marks_folder.exists()


@pytest.mark.parametrize("opened_up", ["marks", "worker"])
def test_a_folder_that_others_can_write_to_is_not_trusted(folder: str, marks_folder: Path, opened_up: str) -> None:
    marks.leave(folder, owned=True)
    (marks_folder if opened_up == "marks" else Path(folder)).chmod(0o777)
    assert marks.find([os.getpid()]) is None


def test_links_of_any_other_content_are_not_marks(folder: str, marks_folder: Path) -> None:
    marks.leave(folder, owned=True)
    (marks_folder / identity(os.getpid())).unlink()
    for target in ("x", f"1:2:{folder}", f"a:1.2-3.4:{folder}", "1:1.2-3.4:/nowhere"):
        (marks_folder / identity(os.getpid())).symlink_to(target)
        assert marks.find([os.getpid()]) is None
        (marks_folder / identity(os.getpid())).unlink()


def test_another_rank_of_the_same_launcher(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptors may be others: each rank may have streams of its own."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_PORT", "29500")
    marks.leave(folder, owned=True)
    monkeypatch.setenv("RANK", "1")
    found = marks.find()  # this process's parent is that of the rank
    assert found is not None
    assert (found.pid, found.files) == (os.getpid(), None)
    monkeypatch.setenv("MASTER_PORT", "29501")
    assert marks.find() is None, "another job that the same shell has started"
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert marks.find() is None, "a process that is not a rank"


def test_a_rank_that_only_logs_does_not_replace_the_mark_of_the_one_with_the_run(
    folder: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime / "other").mkdir(mode=0o700)
    monkeypatch.setenv("RANK", "0")
    for worker, owned, expected in (("other", False, "other"), ("w", True, "w"), ("other", False, "w")):
        marks.leave(str(runtime / worker), owned=owned)
        found = marks.find()
        assert found is not None
        assert found.worker == str(runtime / expected)


def test_a_file_that_a_relay_reads_already(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not marks.is_relayed()
    marks.leave_relay()
    assert marks.is_relayed()
    assert marks.relayed_by() == os.getpid()
    monkeypatch.setenv("RANK", "1")
    assert not marks.is_relayed(), "a rank has a name, which the relay of its launcher does not know"
    marks.leave_relay()
    assert marks.is_relayed(), "a child of a rank"
    marks.remove(os.getpid())
    assert not marks.is_relayed()
    assert marks.relayed_by() == 0
