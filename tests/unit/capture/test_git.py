"""A Git command that takes too long is ended; one that a signal to the whole job ends is run again.

None needs a thread, and what prints without end is ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autoinstrument.capture import git as git_module
from autoinstrument.capture.checkout import Checkout
from autoinstrument.capture.git import ExitCodeError, GitError, _end, git
from tests.unit.repositories import Repository


@pytest.mark.parametrize("platform", ["linux", "win32"])
@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")
def test_a_command_is_ended(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """With its process group where there are groups; a second time, when it is gone, nothing happens."""
    command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command, start_new_session=True) as process:
        monkeypatch.setattr(sys, "platform", platform)
        _end(process)
        assert process.wait() == -9
        _end(process)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("signal", "times", "runs"), [("TERM", 1, 2), ("USR1", 2, 3), ("USR2", 9, 3), ("KILL", 9, 1), ("SEGV", 9, 1)]
)
def test_a_signal_to_the_whole_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str, times: int, runs: int
) -> None:
    """A program in Git's place is ended by it some times, and prints how often it was run."""
    program = tmp_path / "git"
    program.write_text(f"""#!/bin/sh
echo >> {tmp_path}/runs
n=$(wc -l < {tmp_path}/runs)
[ $n -gt {times} ] || kill -{signal} $$
echo $n
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if runs > times:
        assert int(git(tmp_path, "status")) == runs
    else:
        with pytest.raises(ExitCodeError, match="git status ended with -"):
            git(tmp_path, "status")
    assert len((tmp_path / "runs").read_text()) == runs


def test_no_thread_is_needed(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter shuts down, none can be started (Python 3.12), and executors take no work (3.9)."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    repository.write("train.py", "print('changed')\n")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = Checkout.of(repository.root)
    assert found is not None
    assert (found.commit, found.branch, found.remote) == (repository.head, "main", str(repository.remote))
    assert b"+print('changed')" in found.diff()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_prints_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\nexec yes >&{1 if stream == 'stdout' else 2}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(git_module, "_MOST_BYTES", 1024**2)
    with pytest.raises(GitError, match="git status printed more than 1 MB"):
        git(tmp_path, "status")
