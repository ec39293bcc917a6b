from __future__ import annotations

import pytest

from autoinstrument.agent.tracked_run import TrackedRun
from autoinstrument.records import EventsDropped, RunEnded, RunStarted, TaskFound

STARTED = RunStarted(
    "id", "name", "0", "experiment", "sqlite:///a.db", "https://mlflow/run", "s3://bucket/id", 0, "", {},
    resumed=False, owned=True, task_id="",
)  # fmt: skip
ENDED = RunEnded("id", "FINISHED", 1, "", False)


@pytest.fixture
def run() -> TrackedRun:
    run = TrackedRun("id")
    run.begin("sqlite:///a.db", "", owned=True)
    return run


def test_a_run_that_has_begun(run: TrackedRun) -> None:
    assert (run.is_open, run.is_undescribed, run.undelivered_uri) == (True, True, "sqlite:///a.db")
    assert (run.name, run.page_url, run.artifact_root) == ("id", "", "")
    assert run.for_next_worker() == [], "the worker reads it from MLflow"


def test_a_run_of_another_process_is_delivered_by_that() -> None:
    run = TrackedRun("id")
    run.begin("sqlite:///a.db", "", owned=False)
    assert (run.is_open, run.is_undescribed, run.undelivered_uri) == (True, False, "")


def test_a_described_run(run: TrackedRun) -> None:
    run.describe(STARTED)
    assert (run.is_undescribed, run.undelivered_uri) == (False, "sqlite:///a.db")
    assert (run.name, run.page_url, run.artifact_root) == ("name", "https://mlflow/run", "s3://bucket/id")
    assert run.for_next_worker() == [STARTED._replace(resumed=True), EventsDropped("id", 0)]


def test_a_run_that_has_ended_and_one_that_is_delivered(run: TrackedRun) -> None:
    run.describe(STARTED)
    run.end(ENDED)
    assert not run.is_open
    assert run.for_next_worker()[-1] == ENDED
    run.deliver()
    assert (run.for_next_worker(), run.undelivered_uri, run.ended) == ([], "", None)
    assert run.tracking_uri == "sqlite:///a.db", "the tags are yet to be written"


def test_a_run_that_is_resumed(run: TrackedRun) -> None:
    run.describe(STARTED)
    run.end(ENDED)
    run.begin("sqlite:///a.db", "", owned=True)
    run.describe(STARTED._replace(resumed=True))
    assert (run.is_open, run.ended) == (True, None)


def test_a_run_that_is_left_alone_until_it_is_resumed(run: TrackedRun) -> None:
    run.leave_alone()
    assert (run.is_open, run.is_left_alone, run.undelivered_uri) == (False, True, "")
    run.begin("sqlite:///a.db", "", owned=True)
    assert (run.is_open, run.is_left_alone) == (True, False)


def test_a_forked_child_does_not_end_the_run(run: TrackedRun) -> None:
    run.hand_over()
    assert (run.is_undescribed, run.undelivered_uri) == (False, "")
    run.describe(STARTED)
    run.hand_over()
    assert run.started == STARTED._replace(owned=False)


def test_the_next_worker_knows_of_a_later_task_init(run: TrackedRun) -> None:
    found = TaskFound(STARTED.run_id, "task", made_task=True)
    run.adopt(found)
    run.describe(STARTED)
    run.adopt(found)
    first = run.for_next_worker()[0]
    assert isinstance(first, RunStarted)
    assert first.has_own_monitor
    assert first.made_task


@pytest.mark.parametrize(
    ("tags", "elsewhere"),
    [
        ({"mlflow.source.name": "train.py", "mlflow.source.type": "LOCAL"}, True),
        ({"mlflow.source.name": "git@host:project", "mlflow.source.type": "PROJECT"}, False),
        ({}, False),
    ],
)
def test_the_program_of_a_run_that_is_resumed(tags: dict[str, str], elsewhere: bool) -> None:
    described = STARTED._replace(tags=tags, resumed=True)
    run = TrackedRun("id")
    run.begin("sqlite:///a.db", "", owned=True, resumed=True)
    assert run.with_program(described).begun_elsewhere is elsewhere


def test_the_program_of_a_run_that_the_same_process_has_begun(run: TrackedRun) -> None:
    described = STARTED._replace(tags={"mlflow.source.name": "train.py"}, resumed=True)
    run.begin("sqlite:///a.db", "", owned=True, resumed=True)
    assert not run.with_program(described).begun_elsewhere
