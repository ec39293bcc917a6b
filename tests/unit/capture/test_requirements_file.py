"""Requirements files that name others become one text."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinstrument.capture.requirements_file import requirement_lines


def test_nested_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/base.txt").write_text("numpy\n--requirement=deep.txt\n")
    (tmp_path / "more/deep.txt").write_text("# a comment\n\ntorch>=2  # why\n")
    lines = ["pandas", " -r more/base.txt ", "--extra-index-url https://h/simple"]
    assert list(requirement_lines(lines, tmp_path)) == [
        "pandas", "numpy", "torch>=2  # why", "--extra-index-url https://h/simple",
    ]  # fmt: skip


def test_a_file_that_names_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("-r own.txt\nnumpy\n")
    assert set(requirement_lines(["-r own.txt"], tmp_path)) <= {"numpy", "-r own.txt"}
    with pytest.raises(FileNotFoundError):
        list(requirement_lines(["-r none.txt"], tmp_path))
