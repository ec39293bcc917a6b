"""The console of a process without a run is that of the process that it has joined, under its own name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.clearml_api.session import Session
from autoinstrument.records import ConsoleAwaited, ConsoleWritten, ProcessJoined, RunEnded
from autoinstrument.settings import Settings
from autoinstrument.worker.dispatcher import Dispatcher
from autoinstrument.worker.receiver import ConnectionClosed
from autoinstrument.worker.training_process import TrainingProcess
from tests.unit.mirror.runs import PROCESS
from tests.unit.mirror.test_console import RUN, lines_of, new_dispatcher

JOINED = ProcessJoined(77, PROCESS.pid, "rank 1", {"CUDA_VISIBLE_DEVICES": "1"})
ENDED = RunEnded(RUN.run_id, "FINISHED", 0, "", False)


@pytest.fixture
def runs(tmp_path: Path) -> Dispatcher:
    return new_dispatcher(tmp_path, Settings(home=str(tmp_path / "home")), Session())


class Process(TrainingProcess):
    """A process whose end of the connection is here."""

    def __init__(self, connection: socket.socket, other_end: socket.socket) -> None:
        super().__init__(connection)
        self.other_end = other_end


@pytest.fixture
def processes(runs: Dispatcher) -> Iterator[tuple[Process, Process]]:
    pairs = [socket.socketpair() for _ in range(2)]
    both = Process(*pairs[0]), Process(*pairs[1])
    runs.registry.processes += both
    yield both
    for pair in pairs:
        for end in pair:
            end.close()


def written(text: str, stream: str = "stdout") -> ConsoleWritten:
    return ConsoleWritten(stream, f"{text}\n", 1)


def test_lines_of_a_joined_process_are_in_the_open_run(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    owner, joined = processes
    runs.handle(owner, PROCESS)
    runs.handle(joined, JOINED)
    runs.handle(joined, written("before the run"))
    runs.handle(owner, RUN)
    runs.handle(owner, written("own"))
    runs.handle(joined, written("in the run"))
    runs.handle(owner, ENDED)
    runs.handle(joined, written("after the run"))
    runs.handle(joined, ConsoleWritten("stdout", "no newline", 1))
    runs.handle(joined, ConnectionClosed())
    runs.handle(owner, ConnectionClosed())
    runs.process_end.complete(owner)
    lines = ["[rank 1] before the run", "own", "[rank 1] in the run", "[rank 1] after the run", "[rank 1] no newline"]
    assert lines_of(runs.registry.mirrors[RUN.run_id].journal) == lines


def test_lines_of_a_joined_process_wait_for_the_other_one(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    """The records of the two arrive over two connections."""
    owner, joined = processes
    runs.handle(joined, JOINED)
    runs.handle(joined, written("first"))
    runs.handle(owner, PROCESS)
    runs.handle(owner, RUN)
    for text in ("second", "third"):  # what has waited is written once
        runs.handle(joined, written(text))
    lines = ["[rank 1] first", "[rank 1] second", "[rank 1] third"]
    assert lines_of(runs.registry.mirrors[RUN.run_id].journal) == lines


def test_a_run_has_the_text_that_came_before_it_was_known(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    owner, relay = processes
    runs.handle(relay, JOINED._replace(name=""))
    runs.handle(relay, ConsoleWritten("stdout", "first\n", 1))
    for record in (PROCESS, RUN, ConsoleAwaited(PROCESS.pid, 1), ConsoleAwaited(PROCESS.pid, 1)):
        runs.handle(owner, record)
    assert lines_of(runs.registry.mirrors[RUN.run_id].journal) == ["first"]


def test_a_relay_of_the_process_itself_has_no_name(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    owner, relay = processes
    for process, record in (
        (owner, PROCESS), (owner, RUN), (relay, JOINED._replace(name="")), (relay, written("from C")),
    ):  # fmt: skip
        runs.handle(process, record)
    assert lines_of(runs.registry.mirrors[RUN.run_id].journal) == ["from C"]


def test_a_rank_that_logs_to_a_run_of_another_machine(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    """No process here has begun the run; the text of the rank and its children is shown nevertheless."""
    rank, child = processes
    runs.handle(rank, PROCESS._replace(name="rank 2"))
    runs.handle(rank, RUN._replace(owned=False))
    mirror = runs.registry.mirrors[RUN.run_id]
    shown: list[tuple[str, str]] = []
    mirror.console.write = lambda stream, text, time_ms, process="": shown.append((process, text))  # type: ignore[method-assign]
    runs.handle(rank, written("of the rank"))
    runs.handle(child, JOINED._replace(name="Loader-1"))
    runs.handle(child, written("of its child"))
    assert shown == [("rank 2", "of the rank\n"), ("Loader-1", "of its child\n")]


def test_figures_of_a_joined_process_are_those_of_the_run(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    owner, joined = processes
    for process, record in ((owner, PROCESS._replace(node=1)), (owner, RUN), (joined, JOINED)):
        runs.handle(process, record)
    assert runs.registry.processes_of(RUN.run_id) == [owner, joined]
    assert joined.devices == {"CUDA_VISIBLE_DEVICES": "1"}
    assert runs.registry.node_of(joined) == 1
    runs.handle(joined, ConnectionClosed())
    assert runs.registry.processes_of(RUN.run_id) == [owner]


def test_the_worker_does_not_stay_for_a_joined_process(runs: Dispatcher, processes: tuple[Process, Process]) -> None:
    owner, joined = processes
    for process, record in ((owner, PROCESS), (owner, RUN), (joined, JOINED)):
        runs.handle(process, record)
    runs.handle(owner, ConnectionClosed())
    runs.process_end.complete(owner)
    runs.forget(owner)
    assert joined.other_end.recv(1) == b""
