"""A run's Task describes one program, whichever processes log to the run or resume it."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.clearml_api.session import Session
from autoinstrument.journal.run_journal import RunJournals
from autoinstrument.records import DeliveryAwaited, ProcessChanged, ProcessExiting, Record, RunStarted
from autoinstrument.settings import Settings
from autoinstrument.worker.dispatcher import Dispatcher
from autoinstrument.worker.process_description import ProcessDescription
from autoinstrument.worker.training_process import TrainingProcess
from tests.unit.mirror.runs import PROCESS
from tests.unit.mirror.test_console import new_dispatcher

RUN = RunStarted("e" * 32, "a", "0", "exp", "sqlite:///nowhere.db", "", "", 0, "", {}, False, True, "")
RESUMED = RUN._replace(resumed=True)
EVALUATE = PROCESS._replace(
    main_path="/evaluate.py", arguments=[("argv", "evaluate", "")],
    pid=PROCESS.pid + 1, job={"slurm_restarts": "1"},
)  # fmt: skip


@pytest.fixture
def processes() -> Iterator[list[TrainingProcess]]:
    pairs = [socket.socketpair() for _ in range(2)]
    yield [TrainingProcess(ours) for ours, _ in pairs]
    for pair in pairs:
        for end in pair:
            end.close()


@pytest.fixture
def dispatcher(tmp_path: Path, processes: list[TrainingProcess]) -> Dispatcher:
    """Knows a training that has begun a run, and another program."""
    dispatcher = new_dispatcher(tmp_path, Settings(home=str(tmp_path / "home")), Session())
    dispatcher.registry.processes += processes
    for process, started in zip(processes, (PROCESS, EVALUATE), strict=True):
        dispatcher.handle(process, started)
    dispatcher.handle(processes[0], RUN)
    return dispatcher


def arguments(dispatcher: Dispatcher) -> list[str]:
    """Return the values of the command line that the run's Task has."""
    described = dispatcher.registry.mirrors[RUN.run_id].journal.process
    return [value for _, value, _ in described.arguments] if described else []


def change(dispatcher: Dispatcher, process: TrainingProcess, value: str) -> None:
    dispatcher.handle(process, ProcessChanged([], [("argv", value, "")], ""))


def test_a_run_of_another_program_keeps_its_description(
    dispatcher: Dispatcher, processes: list[TrainingProcess]
) -> None:
    """`MLFLOW_RUN_ID` is given to a child, or an evaluation resumes the run, while its own process goes on."""
    training, evaluation = processes
    dispatcher.handle(evaluation, RESUMED._replace(begun_elsewhere=True))
    change(dispatcher, evaluation, "of the evaluation")
    assert "evaluat" not in str(arguments(dispatcher))
    change(dispatcher, training, "of the training")
    assert arguments(dispatcher) == ["of the training"]


def test_a_run_that_names_no_program_is_that_of_the_process_that_resumes_it(
    dispatcher: Dispatcher, processes: list[TrainingProcess]
) -> None:
    """`mlflow run` and `MlflowClient.create_run` make runs for other programs."""
    launcher, program = processes
    dispatcher.handle(program, RESUMED)
    assert arguments(dispatcher) == ["evaluate"]
    change(dispatcher, launcher, "of the launcher")
    assert arguments(dispatcher) == ["evaluate"]


@pytest.mark.parametrize("begun_elsewhere", [True, False])
def test_of_a_run_that_waits_for_sync(
    tmp_path: Path,
    processes: list[TrainingProcess],
    dispatcher: Dispatcher,
    begun_elsewhere: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was recorded without a server; another worker serves the process that resumes it."""
    monkeypatch.setattr(ProcessDescription, "is_capturing", True)
    settings = Settings(home=str(tmp_path / "home"))
    journal = RunJournals(settings).of(RUN, PROCESS)
    journal.script = {"entry_point": "train.py"}
    journal.save()
    later = new_dispatcher(tmp_path, settings, Session())
    later.registry.processes += processes
    later.handle(processes[1], RESUMED._replace(begun_elsewhere=begun_elsewhere))
    assert ("evaluate" in arguments(later)) is not begun_elsewhere
    described = later.registry.mirrors[RUN.run_id].journal.process
    assert described is not None
    assert (described.pid, described.job) == (EVALUATE.pid, EVALUATE.job), "it is the one at work"
    awaits = later.registry.mirrors[RUN.run_id].gate.describe_at is not None
    assert awaits is not begun_elsewhere, "it would wait forever: nothing will describe it"


def test_the_worker_wakes_when_a_description_waits_no_longer(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the rest of the capture, or for Git."""
    gate = dispatcher.registry.mirrors[RUN.run_id].gate
    for whole_by, describe_at, wakes_at in ((1.0, 2.0, 1.0), (math.inf, 2.0, 2.0), (1.0, None, math.inf)):
        monkeypatch.setattr(ProcessDescription, "whole_by", whole_by)
        gate.note_described()
        if describe_at is not None:
            gate.wait_for_description(describe_at)
        assert dispatcher.registry.next_description == wakes_at


@pytest.mark.parametrize(
    ("waiting", "is_urgent"),
    [(None, False), (ProcessExiting("", False, 10), True), (DeliveryAwaited(1), True)],
    ids=["at work", "exiting", "in a call"],
)
def test_packages_that_are_known_late_are_sent_at_once_if_the_process_waits(
    dispatcher: Dispatcher,
    processes: list[TrainingProcess],
    monkeypatch: pytest.MonkeyPatch,
    waiting: Record | None,
    is_urgent: bool,
) -> None:
    """The end of a short script would wait for the next round, up to 2 s, though nothing is missing."""
    monkeypatch.setattr(ProcessDescription, "news", 1)
    dispatcher.take_captured(processes[0])  # the code, without which no Task is made
    if waiting:
        dispatcher.handle(processes[0], waiting)
    assert dispatcher.take_captured(processes[0]) is is_urgent
