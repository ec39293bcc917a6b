"""Records of runs that the worker does not know yet wait in a bounded store."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from autoinstrument.records import MetricsLogged
from autoinstrument.transport.budget import Limit
from autoinstrument.worker import early_records
from autoinstrument.worker.early_records import EarlyRecords
from autoinstrument.worker.training_process import TrainingProcess

RECORD = MetricsLogged("a" * 32, [("loss", 0.1, 1, 1)])


@pytest.fixture
def process() -> Iterator[TrainingProcess]:
    """A process that is connected."""
    here, there = socket.socketpair()
    with here, there:
        yield TrainingProcess(here)


def test_records_are_taken_once_and_in_order(process: TrainingProcess) -> None:
    early, other = EarlyRecords(), RECORD._replace(run_id="b" * 32)
    for record in (RECORD, other, RECORD):
        early.add(process, record)
    assert early.take() == [(process, RECORD), (process, other), (process, RECORD)]
    assert early.take() == []
    assert not early.take_lost("a" * 32)


@pytest.mark.parametrize("limit", [Limit(1, 10**6), Limit(10, 1)], ids=["records", "bytes"])
def test_a_record_too_many_is_dropped_and_its_run_is_incomplete(
    process: TrainingProcess, monkeypatch: pytest.MonkeyPatch, limit: Limit
) -> None:
    monkeypatch.setattr(early_records, "UNKNOWN_RUNS", limit)
    early = EarlyRecords()
    early.add(process, RECORD)
    early.add(process, RECORD)
    assert early.take_lost(RECORD.run_id)
    assert not early.take_lost(RECORD.run_id)
    assert len(early.take()) == 1
    early.add(process, RECORD)
    assert len(early.take()) == 1, "what was taken makes room"


def test_console_text_that_waits_takes_room(process: TrainingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_records, "UNKNOWN_RUNS", Limit(10, 1000))
    early = EarlyRecords()
    early.reserve(1000)
    assert not early.has_room(0)
    early.reserve(-1)
    assert early.has_room(0)
