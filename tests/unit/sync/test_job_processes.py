"""Jobs in processes of their own: results, errors, and a process that is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from autoinstrument.clearml_api.errors import RefusedError, UnavailableError
from autoinstrument.sync.job_processes import JobProcessError, JobProcesses
from tests.end_to_end.processes import PATIENCE_S
from tests.startup.environment import ROOT


@pytest.fixture
def two() -> Iterator[JobProcesses]:
    with JobProcesses(2) as executor:
        yield executor


def test_results_and_errors_come_from_other_processes(two: JobProcesses) -> None:
    pids = [two.submit(os.getpid) for _ in range(20)]
    assert os.getpid() not in {future.result() for future in pids}
    with pytest.raises(ZeroDivisionError):
        two.submit(divmod, 1, 0).result()
    with pytest.raises(RefusedError) as refused:
        two.submit(_refuse, 400, 101).result()
    assert refused.value.is_gone
    with pytest.raises(UnavailableError) as later:
        two.submit(_unavailable, 7.0).result()
    assert later.value.retry_after_s == 7.0


@pytest.mark.parametrize("kind", ["of two arguments", "with a lock"])
def test_an_exception_that_cannot_be_pickled_is_told(two: JobProcesses, kind: str) -> None:
    """The first kind is only found out where it is unpickled."""
    for _ in range(3):
        with pytest.raises(JobProcessError, match=f"DriverError: {kind}, at all"):
            two.submit(_fail_in_driver, kind).result(PATIENCE_S)


def test_a_call_that_cannot_be_pickled_fails_and_the_next_one_is_done() -> None:
    with JobProcesses(1) as executor:
        failing, next_one = executor.submit(lambda: 1), executor.submit(abs, -1)
        with pytest.raises((AttributeError, pickle.PicklingError)):
            failing.result(PATIENCE_S)
        assert next_one.result(PATIENCE_S) == 1


def test_a_killed_process_loses_its_job_alone(two: JobProcesses) -> None:
    with pytest.raises(JobProcessError, match="ended by signal 9"):
        two.submit(_kill_yourself).result()
    assert len({two.submit(os.getpid).result() for _ in range(5)}) == 1
    with pytest.raises(JobProcessError, match="ended with exit code 3"):
        two.submit(os._exit, 3).result()
    with pytest.raises(JobProcessError, match="no process is left"):
        two.submit(os.getpid).result()


def test_jobs_that_wait_fail_with_the_last_process() -> None:
    with JobProcesses(1) as executor:
        first, second, third = executor.submit(_kill_yourself), executor.submit(os.getpid), executor.submit(os.getpid)
        for future in (first, second, third):
            assert isinstance(future.exception(), JobProcessError)


def test_ctrl_c_is_for_the_process_that_submits(two: JobProcesses) -> None:
    assert two.submit(_interrupt_yourself).result() == "still here"


_FORKED = """
import os, time
from autoinstrument.sync.job_processes import JobProcesses
executor = JobProcesses(2)
pids = {process.pid for process in executor._processes}
assert all(executor.submit(os.getpid).result() in pids for _ in range(5))
assert len({executor.submit(os.getppid).result() for _ in range(5)} - {os.getpid()}) == 0
print(*pids, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
@pytest.mark.parametrize("end", ["executor.shutdown()", "os.kill(os.getpid(), 9)"])
def test_processes_end_with_the_command(end: str) -> None:
    """Also with one that is killed: no sibling keeps its ends of the pipes open."""
    command = [sys.executable, "-c", _FORKED + end]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = threading.Event()
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):  # noqa: PTH110
        deadline.wait(0.05)


def _refuse(*code: int) -> None:
    raise RefusedError("no", (code[0], code[1]))


def _unavailable(retry_after_s: float) -> None:
    raise UnavailableError("later", retry_after_s)


class DriverError(Exception):
    def __init__(self, message: str, detail: str) -> None:
        super().__init__(f"{message}, {detail}")
        if message == "with a lock":
            self.lock = threading.Lock()


def _fail_in_driver(kind: str) -> None:
    raise DriverError(kind, "at all")


def _kill_yourself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt_yourself() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"
