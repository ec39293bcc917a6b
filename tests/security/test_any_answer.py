"""Whatever a server answers is read, or refused with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.startup.environment import ROOT


@pytest.mark.parametrize("script", ["any_answer.py", "endless_answers.py"])
def test_any_answer_of_a_server(script: str) -> None:
    """In a process of its own: importing clearml changes the one that does."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("CLEARML_", "TRAINS_"))}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(script)],
        cwd=ROOT, env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.endswith("done\n")
