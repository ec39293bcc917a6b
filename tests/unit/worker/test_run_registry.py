"""The process that is responsible for a run, and the runs that are dropped with a process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autoinstrument.worker.run_registry import RunRegistry
from autoinstrument.worker.training_process import TrainingProcess


@pytest.fixture
def connected() -> Iterator[Callable[[RunRegistry], TrainingProcess]]:
    """Connects processes to a registry."""
    pairs = []

    def connect(registry: RunRegistry) -> TrainingProcess:
        pairs.append(socket.socketpair())
        registry.processes.append(TrainingProcess(pairs[-1][0]))
        return registry.processes[-1]

    yield connect
    for pair in pairs:
        for end in pair:
            end.close()


def test_messages_go_to_the_owner_or_to_the_first_that_logs(
    connected: Callable[[RunRegistry], TrainingProcess],
) -> None:
    registry = RunRegistry()
    parent, child = connected(registry), connected(registry)
    registry.began(child, "run", owned=False)
    assert registry.home["run"] is child
    assert list(registry.open) == []
    registry.began(parent, "run", owned=True)
    assert registry.home["run"] is parent
    registry.began(child, "run", owned=False)
    assert registry.home["run"] is parent
    assert list(registry.open) == ["run"]


def test_a_run_is_open_as_long_as_one_owner_is_at_work(connected: Callable[[RunRegistry], TrainingProcess]) -> None:
    registry = RunRegistry()
    first, second = connected(registry), connected(registry)
    for process in (first, second, first, second):
        registry.began(process, "run", owned=True)
    assert registry.left(second, "run")
    assert not registry.left(second, "run"), "it had ended the run before"
    assert registry.open == {"run": [first]}
    assert registry.left(first, "run")
    assert not registry.open


def test_runs_that_another_process_logs_to_stay(connected: Callable[[RunRegistry], TrainingProcess]) -> None:
    registry, mirrors = RunRegistry(), {"one": object(), "both": object()}
    first, second = connected(registry), connected(registry)
    for process, run_id in ((first, "one"), (first, "both"), (second, "both")):
        registry.began(process, run_id, owned=process is first)
    known: Any = registry.mirrors
    known.update(mirrors)
    assert set(registry.at_home(first)) == {*mirrors.values()}
    assert registry.forget(first) == [mirrors["one"]]
    assert registry.mirrors == {"both": mirrors["both"]}
    assert registry.processes == [second]
    assert first.connection.fileno() == -1
