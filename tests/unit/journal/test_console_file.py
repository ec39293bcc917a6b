"""A run's console on disk: all of a batch or none, and the beginning of what a crash has cut off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoinstrument.journal import console_file
from autoinstrument.journal.console_file import ConsoleLine, append, note_sent, read, sent

LINES: list[ConsoleLine] = [("stdout", "one", 1), ("stderr", "zwei ü\n", 2), ("stdout", "", 3)]


def test_appended_lines_are_read_from_any_line_on(tmp_path: Path) -> None:
    path = tmp_path / "console.jsonl"
    assert list(read(path)) == []
    assert append(path, LINES[:1])
    assert append(path, LINES[1:])
    assert list(read(path)) == LINES
    assert list(read(path, 2)) == LINES[2:]


def test_reading_ends_at_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "console.jsonl"
    append(path, LINES)
    path.write_bytes(path.read_bytes()[:-3])
    assert list(read(path)) == LINES[:2]


def test_a_full_disk_takes_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.jsonl"
    append(path, LINES)
    write = os.write
    written = []

    def full(file: int, content: bytes) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(content)
        return write(file, content[:5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append(path, LINES)
    monkeypatch.setattr(os, "write", write)
    assert append(path, LINES)
    assert list(read(path)) == LINES * 2


def test_a_file_that_is_too_large_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.jsonl"
    append(path, LINES)
    monkeypatch.setattr(console_file, "MAX_BYTES", path.stat().st_size)
    assert not append(path, LINES)
    assert list(read(path)) == LINES


def test_how_many_lines_the_task_holds(tmp_path: Path) -> None:
    path = tmp_path / "console.sent"
    assert sent(path, 3) == 3
    for count in (1000, 7):
        note_sent(path, count)
        assert sent(path, 3) == count


@pytest.mark.parametrize("text", ["", "many", "\x00"])
def test_a_damaged_number_of_lines_does_not_count(tmp_path: Path, text: str) -> None:
    path = tmp_path / "console.sent"
    path.write_text(text)
    assert sent(path, 3) == 3
