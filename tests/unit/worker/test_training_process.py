"""The worker's record of a training process, and how the worker ends one."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from autoinstrument.process_identity import created_ms
from autoinstrument.worker.training_process import TrainingProcess, _terminate
from tests.unit.mirror.runs import PROCESS


@pytest.fixture
def process() -> Iterator[TrainingProcess]:
    """This process as its own worker sees it."""
    worker_end, process_end = socket.socketpair()
    with worker_end, process_end:
        yield TrainingProcess(worker_end)


def test_the_worker_asks_the_system_when_a_process_was_created(process: TrainingProcess) -> None:
    """The process itself reports some time at which it was alive."""
    process.start(PROCESS._replace(pid=os.getpid(), started_ms=1))
    assert process.started is not None
    assert process.started.started_ms == created_ms(os.getpid())


def test_a_process_that_the_system_does_not_show_keeps_its_own_report(process: TrainingProcess) -> None:
    process.start(PROCESS._replace(pid=2**31 - 1, started_ms=4711))
    assert process.started is not None
    assert process.started.started_ms == 4711


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_the_scripts_own_handler_decides(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """On Windows `os.kill` ends a process without calling its handler."""
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("SIGTERM"))
    try:
        if platform == "win32":
            monkeypatch.setattr(os, "kill", lambda *_: calls.append("killed"))
        monkeypatch.setattr(sys, "platform", platform)
        _terminate(os.getpid())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == ["SIGTERM"]
