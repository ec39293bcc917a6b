"""Calls on threads that do not keep the process."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from autoinstrument.sync.daemon_threads import DaemonThreads
from tests.startup.environment import ROOT

_HANGING = """
import threading
from autoinstrument.sync.daemon_threads import DaemonThreads
started = threading.Event()
DaemonThreads(1).submit(lambda: (started.set(), threading.Event().wait()))
started.wait()
"""


def test_calls_run_beside_each_other() -> None:
    executor, both = DaemonThreads(2), threading.Barrier(2)
    jobs = [executor.submit(both.wait) for _ in range(6)]
    assert sorted(job.result(timeout=60) for job in jobs) == [0, 0, 0, 1, 1, 1]


def test_errors_and_calls_that_were_cancelled() -> None:
    executor, hold = DaemonThreads(1), threading.Event()
    first, second, third = executor.submit(hold.wait), executor.submit(divmod, 1, 0), executor.submit(divmod, 7, 2)
    cancelled = executor.submit(divmod, 1, 1)
    assert cancelled.cancel()
    hold.set()
    assert first.result(timeout=60)
    with pytest.raises(ZeroDivisionError):
        second.result(timeout=60)
    assert third.result(timeout=60) == (3, 1)
    with pytest.raises(TypeError):
        executor.submit(divmod, a=1)


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", _HANGING], cwd=ROOT, timeout=120, check=False).returncode == 0
