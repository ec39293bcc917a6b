"""A Git command that takes too long is ended on every platform."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autoinstrument.capture.git import _end


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
