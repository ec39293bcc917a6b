"""The exit code of a process, written by the C library when the interpreter is gone."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

import pytest

from autoinstrument.transport import exit_status


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (struct.pack("=i", 3), 3),
        (struct.pack("=i", 0), 0),
        (struct.pack("=i", -1), 255),
        (struct.pack("=i", 256), 0),
        (struct.pack("=i", 0x7FFF_FFFF), None),
        (b"\0", None),
    ],
)
def test_a_code_equals_that_of_the_shell(content: bytes, code: int | None, tmp_path: Path) -> None:
    (tmp_path / "exit-code-7").write_bytes(content)
    assert exit_status.take(tmp_path, 7) == code
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_left_nothing_has_no_code(tmp_path: Path) -> None:
    assert exit_status.take(tmp_path, 7) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs on_exit of glibc")
@pytest.mark.parametrize(("end", "code"), [("exit", 5), ("_exit", None)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_c_librarys_exit_writes_the_code(end: str, code: int | None, tmp_path: Path) -> None:
    """In a fork of this process, which the C library ends without this interpreter's handlers."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "on_exit"):
        pytest.skip("the C library has no on_exit")
    pid = os.fork()
    if pid == 0:
        watched = exit_status.watch(tmp_path)
        getattr(libc, end)(5 if watched else 99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert exit_status.take(tmp_path, pid) == code


@pytest.mark.skipif(sys.platform != "linux", reason="needs on_exit of glibc")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("removed", [False, True])
def test_a_second_worker_in_the_same_folder_learns_the_code(removed: bool, tmp_path: Path) -> None:
    """An existing file is kept: the process has mapped this one, and no other of its name."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "on_exit"):
        pytest.skip("the C library has no on_exit")
    pid = os.fork()
    if pid == 0:
        file = tmp_path / f"exit-code-{os.getpid()}"
        exit_status.watch(tmp_path)
        before = file.stat().st_ino
        if removed:
            held = file.open()  # its inode is not given to the next file
            file.unlink()
        watched = exit_status.watch(tmp_path) and (file.stat().st_ino == before) is not removed
        libc.exit(5 if watched else 99)
        held.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert exit_status.take(tmp_path, pid) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="no worker is shared")
def test_a_file_is_left_over_once_its_process_is_gone() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    assert not exit_status.is_left_over(f"exit-code-{pid}")
    os.waitpid(pid, 0)
    assert exit_status.is_left_over(f"exit-code-{pid}")
    assert exit_status.is_left_over(f"exit-code-{10**30}")
    for name in ("socket", "exit-code-", f"exit-code-{os.getpid()}", "exit-code-1"):
        assert not exit_status.is_left_over(name)
