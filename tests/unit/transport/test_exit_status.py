from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from autoinstrument.transport import exit_status


@pytest.mark.parametrize(("written", "code"), [(3, 3), (-1, 255), (256, 0), (exit_status._UNKNOWN, None)])
def test_the_code_that_was_written_is_read_as_a_shell_shows_it(tmp_path: Path, written: int, code: int | None) -> None:
    (tmp_path / f"exit-code-{os.getpid()}").write_bytes(struct.pack("=i", written))
    assert exit_status.read(tmp_path, os.getpid()) == code


def test_without_a_code(tmp_path: Path) -> None:
    assert exit_status.read(tmp_path, 1) is None
    (tmp_path / "exit-code-1").write_bytes(b"x")
    assert exit_status.read(tmp_path, 1) is None
