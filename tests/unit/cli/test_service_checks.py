"""`doctor`'s findings about the runs that wait on this machine, and about the log of the workers."""

from __future__ import annotations

from pathlib import Path

from autoinstrument.cli.checks import Check
from autoinstrument.cli.service_checks import recorded
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.settings import Settings
from tests.unit.mirror.runs import PROCESS
from tests.unit.test_untrusted_data import RUN


def found(home: Path) -> dict[str, Check]:
    return {check.what: check for check in recorded(Settings(home=str(home)))}


def test_nothing_waits(tmp_path: Path) -> None:
    checks = found(tmp_path / "home")
    assert checks["recorded runs"].detail == f"0 pending, 0 in training, in {tmp_path / 'home'}"
    assert all(check.ok for check in checks.values())


def test_runs_that_wait_and_one_that_is_damaged(tmp_path: Path) -> None:
    for name in ("one", "two", "damaged"):
        journal = RunJournal(tmp_path / "captures" / name, RUN, PROCESS)
        journal.end = {"status": "completed", "reason": "", "message": ""}
        journal.save()
    (tmp_path / "captures" / "damaged" / "capture.json").write_text("{")
    checks = [check for check in recorded(Settings(home=str(tmp_path))) if check.what == "recorded runs"]
    assert [check.detail for check in checks] == [f"2 pending, 0 in training, in {tmp_path}", "1 cannot be read"]
    assert not any(check.ok for check in checks)


def test_a_folder_that_cannot_be_trusted_or_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert found(tmp_path / "link")["folder of journals"].detail == f"{tmp_path / 'link'} is a link"
    (tmp_path / "file").touch()
    assert found(tmp_path / "file" / "x")["folder of journals"].detail == f"{tmp_path / 'file'} is not a folder"


def test_errors_in_the_log_are_shown_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text(
        "2026-01-01 00:00:00,000 [12] INFO all is well\n"
        "2026-01-01 00:00:01,000 [12] WARNING no answer from http://me:sesame@host/\n"
    )
    log = found(tmp_path)["worker.log"]
    assert log.ok is None
    assert log.detail.startswith("1 errors, the last: ")
    assert "sesame" not in log.detail
