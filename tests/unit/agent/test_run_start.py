from __future__ import annotations

import pytest

from autoinstrument.agent.run_start import RunStart
from autoinstrument.guard import errors
from autoinstrument.records import RunStarted
from autoinstrument.transport.deferred_reads import Read
from tests.unit.agent.test_tracked_run import STARTED


class Store:
    """A tracking store that does not answer for a while."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0
        self.waits: list[float] = []
        self.retry: Read = lambda: None
        self.start = RunStart(self.make, self.taken, self.again)

    def make(self) -> RunStarted:
        self.asked += 1
        if self.asked <= self.failures:
            raise ConnectionError("no answer")
        return STARTED

    def taken(self, run: RunStarted | None) -> RunStarted | None:
        return run and run._replace(task_id="taken")

    def again(self, retry: Read, wait_s: float) -> None:
        self.retry = retry
        self.waits.append(wait_s)


def test_the_stores_answer_is_taken() -> None:
    assert Store(0).start() == STARTED._replace(task_id="taken")


def test_a_run_that_is_left_alone_makes_no_record() -> None:
    asked = []
    assert RunStart(lambda: None, asked.append, lambda retry, wait_s: None)() is None
    assert asked == [None]


@pytest.mark.swallows("describing a run")
def test_the_store_is_asked_again_and_the_failure_logged_by_the_first_call_alone() -> None:
    store, before = Store(2), errors["describing a run"]
    with pytest.raises(ConnectionError):
        store.start()
    assert store.retry() is None
    assert errors["describing a run"] == before + 1
    assert store.retry() == STARTED._replace(task_id="taken")
    assert store.waits == [0.5, 1.0]


@pytest.mark.swallows("describing a run")
def test_the_store_is_not_asked_for_ever() -> None:
    store = Store(1000)
    with pytest.raises(ConnectionError):
        store.start()
    for _ in range(20):
        asked = store.asked
        store.retry, retry = lambda: None, store.retry
        retry()
    assert (store.asked, asked, len(store.waits)) == (8, 8, 7)
