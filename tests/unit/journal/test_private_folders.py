"""Journals go into a folder that is the user's own, 0700, and nowhere else."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.cli.service_checks import recorded
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.journal.state_folder import private_folder
from autoinstrument.mirror.kinds.console import ConsolePart
from autoinstrument.settings import Settings
from tests.unit.test_untrusted_data import PROCESS, RUN

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")


def journal_in(home: Path) -> RunJournal:
    return RunJournal(home / "captures" / "r", RUN, PROCESS)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_0700_and_files_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = journal_in(tmp_path / "home")
        journal.save()
        journal.add_console([("stdout", "text", 1)])
    finally:
        os.umask(before)
    for path in [tmp_path / "home", *(tmp_path / "home").rglob("*")]:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "captures" / "r").mkdir(parents=True)
    (tmp_path / "captures").chmod(0o755)
    journal_in(tmp_path).save()
    assert mode(tmp_path / "captures") == 0o700


def test_runs_whose_tasks_become_complete_are_passed_over(tmp_path: Path) -> None:
    """Workers remove their folders while a command goes through them."""
    journals = RunJournals(Settings(home=str(tmp_path)))
    for name in "abc":
        RunJournal(journals.folder / name, RUN._replace(run_id=name), PROCESS).save()
    found = iter(journals)
    assert next(found).name == "a"
    RunJournal.load(journals.folder / "b").remove()
    assert [folder.name for folder in found] == ["c"]


@pytest.mark.parametrize("level", ["home", "captures", "run"])
def test_a_link_is_refused(tmp_path: Path, level: str) -> None:
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.mkdir()
    link = {"home": home, "captures": home / "captures", "run": home / "captures" / "r"}[level]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(OSError, match="is a link"):
        journal_in(home).save()
    assert list(elsewhere.rglob("*.json")) == []


def test_a_file_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("valuable")
    journal = journal_in(tmp_path / "home")
    journal.save()
    (journal.folder / "capture.json").unlink()
    for name in ("capture.json", "console.jsonl"):
        (journal.folder / name).symlink_to(victim)
    journal.save()
    assert not (journal.folder / "capture.json").is_symlink()
    with pytest.raises(OSError, match=r"symbolic links|link"):
        journal.add_console([("stdout", "text", 1)])
    assert victim.read_text() == "valuable"


@pytest.mark.skipif(sys.platform != "win32" and os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Neither written nor read."""
    journal_in(tmp_path).save()
    os.chown(tmp_path / "captures", 12345, 12345)
    with pytest.raises(OSError, match="another user"):
        journal_in(tmp_path).save()
    assert list(RunJournals(Settings(home=str(tmp_path)))) == []
    with pytest.raises(OSError, match="another user"):
        private_folder(tmp_path / "captures", home=tmp_path)


@pytest.fixture
def as_another_user(tmp_path: Path) -> Iterator[None]:
    """Let the test run without root's right to enter all folders."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root can become another user, and itself again where there is a saved user id")
    (tmp_path / "home").mkdir(mode=0o700)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.usefixtures("as_another_user")
def test_a_folder_that_may_not_be_searched_keeps_nothing(tmp_path: Path) -> None:
    """Path's own methods raise there: `su` to another user keeps AUTOINSTRUMENT_HOME, and the run had no Task."""
    journals = RunJournals(Settings(home=str(tmp_path / "home")))
    assert list(journals) == []
    journal = journals.of(RUN, PROCESS)
    assert not journal.is_there
    assert journals.remedy(RUN.run_id).startswith("not recorded on disk")
    ConsolePart(journal)
    first, *_ = recorded(Settings(home=str(tmp_path / "home")))
    assert (first.what, first.ok) == ("folder of journals", False)
