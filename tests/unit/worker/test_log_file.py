"""Workers of several keys write to one log, and rename it when it is full."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from autoinstrument.worker.log_file import WorkerLog

FULL = 2**20


def write(log: WorkerLog, text: str) -> None:
    log.handle(logging.LogRecord("autoinstrument", logging.INFO, __file__, 1, text, (), None))


def test_two_workers_follow_each_other_to_the_next_file(tmp_path: Path) -> None:
    first, second = WorkerLog(tmp_path), WorkerLog(tmp_path)
    now, before = tmp_path / "worker.log", tmp_path / "worker.log.1"
    write(second, "the second begins")
    write(first, "x" * (FULL - 100))
    write(first, "the first goes on")
    write(second, "the second goes on")
    assert [line.partition("INFO ")[2] for line in now.read_text().splitlines()] == [
        "the first goes on",
        "the second goes on",
    ]
    assert "the second begins" in before.read_text()
    write(second, "x" * (FULL - 100))
    write(first, "the end")
    assert "the second goes on" in before.read_text()
    assert now.read_text().endswith("the end\n")
    first.close()
    second.close()


def test_a_log_that_a_person_removes_is_written_again(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path)
    write(log, "removed")
    (tmp_path / "worker.log").unlink()
    write(log, "https://user:secret@host/ is seen")
    assert "secret" not in (tmp_path / "worker.log").read_text()
    assert "is seen" in (tmp_path / "worker.log").read_text()
    log.close()


@pytest.mark.skipif("sys.platform == 'win32'", reason="links need a right there")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The folder may be one in which other users may write, too: the log must not go into a file of this user's."""
    other = tmp_path / "other"
    other.write_text("")
    (tmp_path / "worker.log").symlink_to(other)
    with pytest.raises(OSError, match="symbolic link"):
        WorkerLog(tmp_path)
    assert other.read_text() == ""


def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path)
    log.close()
    assert sys.platform == "win32" or (tmp_path / "worker.log").stat().st_mode & 0o777 == 0o600
