"""Commands connect as processes do, but are not served as processes."""

from __future__ import annotations

import os
import socket

import pytest

from autoinstrument.records import Delivered, ReportRequested, StopRequested, WorkerReported, WorkerStopped
from autoinstrument.transport.protocol import read_all
from autoinstrument.worker.control import Control
from autoinstrument.worker.receiver import ConnectionClosed
from autoinstrument.worker.report import report
from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess


@pytest.fixture
def registry() -> RunRegistry:
    return RunRegistry()


def connect(registry: RunRegistry) -> tuple[TrainingProcess, socket.socket]:
    process_end, worker_end = socket.socketpair()
    process = TrainingProcess(worker_end)
    registry.processes.append(process)
    return process, process_end


def test_a_command_is_answered_and_not_served(registry: RunRegistry) -> None:
    """The worker stays for processes alone, which the report lists, and whose records are not the command's."""
    stopped: list[bool] = []
    control = Control(registry, lambda: report(registry, "no answer", 5), lambda: stopped.append(True))
    training, _ = connect(registry)
    command, asking = connect(registry)
    assert control.handle(command, ReportRequested())
    answer = next(read_all(asking))
    assert isinstance(answer, WorkerReported)
    assert answer.pid == os.getpid()
    assert (answer.problem, answer.failing_since_ms) == ("no answer", 5)
    assert answer.processes == [{"pid": 0, "script": "", "runs": [], "is_gone": False}]
    assert registry.processes == [training]
    assert not control.handle(training, Delivered())
    assert not control.handle(training, ConnectionClosed())
    assert control.handle(command, ConnectionClosed())
    assert stopped == []
    asking.close()


def test_a_command_that_does_not_read_does_not_block_the_worker(registry: RunRegistry) -> None:
    """As one that was stopped at a terminal."""
    big = report(registry, "no answer " * 10_000, 5)
    control = Control(registry, lambda: big, lambda: None)
    command, asking = connect(registry)
    for _ in range(10):
        assert control.handle(command, ReportRequested())
    asking.close()


@pytest.mark.swallows("answering a command: RuntimeError")
def test_a_report_that_fails_does_not_stop_the_worker(registry: RunRegistry) -> None:
    def fail() -> WorkerReported:
        raise RuntimeError("no numbers")

    control = Control(registry, fail, lambda: None)
    command, asking = connect(registry)
    assert control.handle(command, ReportRequested())
    assert control.handle(command, ConnectionClosed())
    asking.close()


def test_each_command_that_asks_for_the_end_gets_an_answer(registry: RunRegistry) -> None:
    stopped: list[bool] = []
    control = Control(registry, lambda: report(registry, "", 0), lambda: stopped.append(True))
    commands = [connect(registry) for _ in range(2)]
    for command, _ in commands:
        assert control.handle(command, StopRequested())
    assert control.is_stopping
    assert stopped == [True], "once"
    for _ in range(3):
        control.note_left()
    control.stopped()
    for _, asking in commands:
        assert next(read_all(asking)) == WorkerStopped(3)
        asking.close()
