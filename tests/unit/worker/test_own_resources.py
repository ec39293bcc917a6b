"""The worker's limits, umask, CPUs and priority, each in a process that starts with others."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.worker import own_resources

TAKE = f"""
import json, os, resource, runpy
runpy.run_path({own_resources.__file__!r})["take"]()
"""


def after(given: str, expression: str) -> Any:
    """Return an expression's value in a process in which a statement was run before it took its own resources."""
    code = f"import os, resource\n{given}\n{TAKE}print(json.dumps({expression}))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hard(name: str) -> int:
    return resource.getrlimit(getattr(resource, name))[1]


def test_a_shell_with_a_low_limit_of_files() -> None:
    wanted = own_resources._FILES if hard("RLIMIT_NOFILE") < 0 else min(hard("RLIMIT_NOFILE"), own_resources._FILES)
    lowered = "resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
    assert after(lowered, "resource.getrlimit(resource.RLIMIT_NOFILE)") == [wanted, hard("RLIMIT_NOFILE")]


def test_a_limit_that_cannot_be_raised_stays() -> None:
    lowered = "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))"
    assert after(lowered, "resource.getrlimit(resource.RLIMIT_NOFILE)") == [300, 300]


@pytest.mark.parametrize("name", ["RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_trainings_shell(name: str) -> None:
    soft = 2**33 if name != "RLIMIT_CPU" else 100
    lowered = f"resource.setrlimit(resource.{name}, ({soft}, resource.getrlimit(resource.{name})[1]))"
    assert after(lowered, f"resource.getrlimit(resource.{name})[0]") == hard(name)


def test_files_are_for_the_user_alone() -> None:
    assert after("os.umask(0o002)", "os.umask(0)") == 0o077


@pytest.mark.skipif(sys.platform != "linux", reason="no other system pins processes in this way")
def test_a_rank_that_is_pinned() -> None:
    """All CPUs that the control group allows for, and so the same as without the pinning."""
    everything = after("pass", "sorted(os.sched_getaffinity(0))")
    pinned = after("os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])", "sorted(os.sched_getaffinity(0))")
    assert pinned == everything
    assert set(everything) >= os.sched_getaffinity(0)


@pytest.mark.parametrize("nice", [0, 10, 17, 19])
def test_the_priority_is_below_the_trainings(nice: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    before = min(own + nice, 19)
    assert after(f"os.nice({nice})", "os.getpriority(os.PRIO_PROCESS, 0)") == min(before + 5, 19)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has these policies")
@pytest.mark.parametrize(("policy", "priority"), [("SCHED_BATCH", 0), ("SCHED_RR", 1)])
def test_a_training_with_a_policy(policy: str, priority: int) -> None:
    """Where the policy cannot be had, as in a container, the test shows nothing: it is skipped."""
    given = f"os.sched_setscheduler(0, os.{policy}, os.sched_param({priority}))"
    if subprocess.run([sys.executable, "-S", "-c", f"import os; {given}"], capture_output=True, check=False).returncode:
        pytest.skip(f"{policy} is not allowed here")
    assert after(given, "os.sched_getscheduler(0)") == os.SCHED_OTHER


@pytest.mark.parametrize("is_found", [True, False])
def test_temporary_files_are_beside_the_workers_folder_if_no_other_place_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_found: bool
) -> None:
    places = [str(tmp_path)] if is_found else []
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: places)
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    own_resources.need_temporary_folder("/dev/shm")
    assert tempfile.gettempdir() == (str(tmp_path) if is_found else "/dev/shm")
    assert os.environ["TMPDIR"] == ("/nonexistent" if is_found else "/dev/shm")
