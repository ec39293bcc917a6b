"""A run's console on disk: all of a batch or none, and the beginning of what a crash has cut off."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from autoinstrument.journal import console_file
from autoinstrument.journal.console_file import ConsoleFile, ConsoleLine, note_sent, sent

LINES: list[ConsoleLine] = [("stdout", "one", 1), ("stderr", "zwei ü\n", 2), ("stdout", "", 3)]


def test_appended_lines_are_read_from_any_line_on(tmp_path: Path) -> None:
    console = ConsoleFile(tmp_path / "console.jsonl")
    assert list(console.read()) == []
    assert console.append(LINES[:1])
    assert console.append(LINES[1:])
    assert list(console.read()) == LINES
    assert list(console.read(2)) == LINES[2:]
    assert list(ConsoleFile(tmp_path / "console.jsonl").read(2)) == LINES[2:]


def test_a_part_is_read_without_those_before_it(tmp_path: Path) -> None:
    """A long console is read in thousands of parts: each must take the same time."""
    path = tmp_path / "console.jsonl"
    console = ConsoleFile(path)
    console.append([("stdout", "ä" * number, number) for number in range(10)])
    first = list(itertools.islice(console.read(), 4))
    with path.open("r+b") as file:  # the line that did not fit is read again, and none before it
        file.write(b"-" * (sum(len(line) for line in path.read_bytes().splitlines(keepends=True)[:3]) - 1))
    assert [number for _, _, number in (*first[:3], *console.read(3))] == list(range(10))


def test_a_new_file_is_read_from_its_first_line_on(tmp_path: Path) -> None:
    """The run's folder was removed when its Task was complete, and the run went on."""
    console = ConsoleFile(tmp_path / "console.jsonl")
    console.append([("stdout", "x" * 100, 1)] * 3)
    assert len(list(console.read())) == 3
    (tmp_path / "console.jsonl").unlink()
    console.append([("stdout", "a", 1), *[("stdout", "b", 2)] * 4])
    assert list(console.read(4)) == [("stdout", "b", 2)]


def test_reading_ends_at_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "console.jsonl"
    console = ConsoleFile(path)
    console.append(LINES)
    path.write_bytes(path.read_bytes()[:-3])
    assert list(console.read()) == LINES[:2]


def test_a_full_disk_takes_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.jsonl"
    console = ConsoleFile(path)
    console.append(LINES)
    write = os.write
    written = []

    def full(file: int, content: bytes) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(content)
        return write(file, content[:5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        console.append(LINES)
    monkeypatch.setattr(os, "write", write)
    assert console.append(LINES)
    assert list(console.read()) == LINES * 2


def test_a_file_that_is_too_large_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.jsonl"
    console = ConsoleFile(path)
    console.append(LINES)
    monkeypatch.setattr(console_file, "MAX_BYTES", path.stat().st_size)
    assert not console.append(LINES)
    assert list(console.read()) == LINES


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
