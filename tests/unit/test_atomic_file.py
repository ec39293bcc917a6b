"""A file is replaced as a whole, by several writers at once, and nothing is left of a writer that fails."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from autoinstrument import atomic_file


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_permissions_are_those_asked_for_less_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o027)
    try:
        atomic_file.write(tmp_path / "file", b"content", mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode & ~0o027


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Each content is whole; with one temporary name for all, two of them would be mixed, or one would fail."""
    contents = [bytes([65 + number]) * 2**16 for number in range(8)]
    failed: list[OSError] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                atomic_file.write(tmp_path / "file", content)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "file").exists():
            assert (tmp_path / "file").read_bytes() in contents
    for thread in threads:
        thread.join()
    assert failed == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_file.write(tmp_path / "file", b"old")

    def full(file: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        atomic_file.write(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_removing_takes_the_files_of_a_killed_writer(tmp_path: Path) -> None:
    atomic_file.write(tmp_path / "file", b"content")
    (tmp_path / ".file.12-abc.part").touch()
    (tmp_path / "other").touch()
    atomic_file.remove(tmp_path / "file")
    atomic_file.remove(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
