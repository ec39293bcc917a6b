"""A ClearML agent is recognised by the command lines of the processes above the training process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autoinstrument.worker.agent_task import clearml_agent_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the agent's command is a script here")

AGENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; print('ready', flush=True); time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


def test_the_agent_above_a_process(tmp_path: Path) -> None:
    (tmp_path / "clearml-agent").write_text(AGENT)
    with subprocess.Popen(
        [sys.executable, "-S", str(tmp_path / "clearml-agent"), "execute"], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        lines = [daemon.stdout.readline().strip() for _ in range(2)]
        training = psutil.Process(int(next(line for line in lines if line != "ready")))
        try:
            agent = clearml_agent_of(training.pid)
            assert agent is not None
            assert [process.pid for process in agent.processes] == [daemon.pid]
            assert agent.program.pid == training.pid
            assert agent.is_alive()
            daemon.kill()
            daemon.wait()
            assert not agent.is_alive()
        finally:
            training.kill()


def test_no_agent_and_no_process() -> None:
    assert clearml_agent_of(2**31 - 1) is None
    assert clearml_agent_of(os.getpid()) is None
