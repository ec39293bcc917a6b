"""A Git command that takes too long is ended; one that a signal to the whole job ends is run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoinstrument.capture.git import ExitCodeError, _end, git


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
