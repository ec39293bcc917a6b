"""Is a process alive, and is it the same one; on every platform that psutil knows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from autoinstrument.process_identity import created_ms, environment_of, is_alive, is_running, outlives


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_any_time_at_which_it_was_alive_identifies_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    """Its creation time, or any later one: a process whose system does not show the former reports the present time."""
    created = created_ms(sleeper.pid)
    assert abs(created - time.time() * 1000) < 600_000
    assert is_alive(sleeper.pid, created)
    assert is_alive(sleeper.pid, created + 3_600_000)


def test_a_process_that_was_created_later_is_another_one(sleeper: subprocess.Popen[bytes]) -> None:
    """The id of a process that has died is assigned again."""
    assert not is_alive(sleeper.pid, created_ms(sleeper.pid) - 60_000)


def test_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    created, process = created_ms(sleeper.pid), psutil.Process(sleeper.pid)
    assert is_running(process)
    sleeper.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_alive(sleeper.pid, created)
    assert not is_running(process)
    sleeper.wait()
    assert not is_alive(sleeper.pid, created)
    assert not is_running(process)
    assert created_ms(sleeper.pid) == 0


@pytest.mark.parametrize(("pid", "alive_ms"), [(0, 2**62), (-1, 2**62), (2**31 - 1, 2**62), (10**30, 1)])
def test_ids_that_are_not_processes(pid: int, alive_ms: int) -> None:
    assert not is_alive(pid, alive_ms)


def test_any_time_may_stand_in_a_file() -> None:
    assert not is_alive(os.getpid(), 0)
    assert not is_alive(os.getpid(), 10**400)


def test_a_dying_process_does_not_outlive_its_connection(sleeper: subprocess.Popen[bytes]) -> None:
    created = created_ms(sleeper.pid)
    assert outlives(sleeper.pid, created, 0.05)
    sleeper.kill()
    assert not outlives(sleeper.pid, created, 600)


def test_the_environment_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_TEST", "1")
    command = [sys.executable, "-S", "-c", "input(1)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"1"  # the system has none to show in the first moment of a program
        created = created_ms(child.pid)
        assert environment_of(child.pid, created)["OF_THIS_TEST"] == "1"
        assert environment_of(child.pid, created - 60_000) == {}, "of another process with this id"
        monkeypatch.setenv("OF_THIS_TEST", "2")
        assert environment_of(os.getpid(), 0)["OF_THIS_TEST"] == "2"
        child.communicate(b"\n")
    assert environment_of(child.pid, created) == {}
