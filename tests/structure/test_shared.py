"""What pytest runs share lasts as long as the command that starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.processes import PATIENCE_S, wait_for
from tests.shared import FOLDER, Shared, resources

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are listed in /proc")


def test_a_service_goes_on_between_two_tiers_and_ends_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    started: list[subprocess.Popen[bytes]] = []

    def start(standard_input: int) -> str:
        started.append(subprocess.Popen(["cat"], stdin=standard_input, stdout=subprocess.DEVNULL))
        return "an address"

    def holders() -> int:
        return sum(file.resolve().name == "a service.pipe" for file in Path("/proc/self/fd").iterdir())

    with resources():
        for _ in range(2):
            with resources(), Shared().service("a service", start) as address:
                assert address == "an address"
                wait_for(lambda: holders() == 2)
        assert len(started) == 1
        assert started[0].poll() is None
    assert started[0].wait(PATIENCE_S) == 0


def test_a_service_that_has_died_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    started: list[subprocess.Popen[bytes]] = []

    def start(standard_input: int) -> str:
        started.append(subprocess.Popen(["cat"], stdin=standard_input, stdout=subprocess.DEVNULL))
        return f"address {len(started)}"

    with resources():
        for number in (1, 2):
            with Shared().service("a service", start) as address:
                assert address == f"address {number}"
            started[-1].kill()
            started[-1].wait()
