from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from autoinstrument.agent.run_reports import RunReports
from autoinstrument.agent.tracked_run import TrackedRun
from autoinstrument.guard import logger
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.completion import write_back
from autoinstrument.records import (
    AbortLogged,
    CodeLacking,
    Record,
    RunAborted,
    RunLinked,
    RunPending,
    RunsKilled,
    RunTagged,
    WorkerStopped,
)
from autoinstrument.settings import Settings
from tests.unit.agent.test_tracked_run import ENDED, STARTED


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, database: Path) -> str:
    store = shutil.copy(database, tmp_path_factory.mktemp("store"))
    return f"sqlite:///{store}"


class Reported:
    """Two runs in a store, and the reports about them."""

    def __init__(self, uri: str, home: Path) -> None:
        self.client = MlflowClient(uri)
        self.first, self.second = (self.run(uri, name) for name in ("first", "second"))
        self.replies: list[Record] = []
        runs = {run.run_id: run for run in (self.first, self.second)}
        self.later: list[Callable[[], object]] = []
        self.reports = RunReports(runs, RunJournals(Settings(home=str(home))), self)  # type: ignore[arg-type]

    def reply(self, record: Record) -> None:
        """As `Sender` does."""
        self.replies.append(record)

    def post_soon(self, run_id: str, kind: str, read: Callable[[], object], wait_s: float) -> None:
        """As `Sender` does."""
        self.later.append(read)

    def run(self, uri: str, name: str) -> TrackedRun:
        run_id = self.client.create_run("0", run_name=name).info.run_id
        run = TrackedRun(run_id)
        run.begin(uri, "", owned=True)
        run.describe(STARTED._replace(run_id=run_id, run_name=name, tracking_uri=uri))
        return run

    def stored(self, run: TrackedRun) -> Run:
        return self.client.get_run(run.run_id)

    def tags(self, run: TrackedRun) -> dict[str, str]:
        tags = self.stored(run).data.tags
        return {key: tag for key, tag in tags.items() if key.startswith("clearml")}


@pytest.fixture
def reported(uri: str, tmp_path: Path) -> Reported:
    return Reported(uri, tmp_path / "home")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger().addHandler(handler)
    yield found
    logger().removeHandler(handler)


def test_a_run_that_has_its_task(reported: Reported, lines: list[str]) -> None:
    linked = RunLinked(reported.first.run_id, "task", "https://clearml/task", adopted=False, delivered=False)
    reported.reports.take(linked)
    assert reported.tags(reported.first) == {
        "clearml.task_id": "task", "clearml.task_url": "https://clearml/task", "clearml.state": "live",
    }  # fmt: skip
    assert lines == ["run first is ClearML Task https://clearml/task (MLflow: https://mlflow/run)"]
    assert reported.reports.has_task(reported.first)
    assert not reported.reports.has_task(reported.second)
    reported.first.end(ENDED)
    reported.reports.take(linked._replace(delivered=True))
    assert reported.tags(reported.first)["clearml.state"] == "synced"
    assert reported.replies == [RunTagged(reported.first.run_id)]
    assert (len(lines), reported.first.ended) == (1, None)


def test_steps_that_were_too_early(reported: Reported, lines: list[str], uri: str) -> None:
    """They are nested below the run, except one that a person has nested elsewhere; the worker does it without us."""
    parent, client = "mlflow.parentRunId", reported.client
    steps = [client.create_run("0", tags=tags).info.run_id for tags in ({}, {parent: "another"}, {})]
    linked = RunLinked(reported.first.run_id, "task", "", adopted=True, delivered=True, steps=steps[:2])
    reported.reports.take(linked)
    journal = RunJournal(Path("unused"), STARTED._replace(run_id=reported.second.run_id), None)
    journal.delivered, journal.steps = True, [steps[2], "f" * 32, "not an id"]
    write_back(journal, uri, note=False)
    found = [client.get_run(step).data.tags[parent] for step in steps]
    assert found == [reported.first.run_id, "another", reported.second.run_id]


def test_a_run_that_has_ended_gets_its_tags_when_its_task_is_complete(reported: Reported) -> None:
    reported.first.end(ENDED)
    reported.reports.take(RunLinked(reported.first.run_id, "task", "http://task", False, False))
    assert reported.tags(reported.first) == {}
    reported.reports.take(RunLinked(reported.first.run_id, "task", "http://task", False, True))
    assert reported.tags(reported.first)["clearml.state"] == "synced"
    for write in reported.later:
        write()
    assert reported.tags(reported.first)["clearml.state"] == "synced", "a late write changes nothing"


def test_a_run_whose_task_takes_long_to_complete_is_linked_meanwhile(reported: Reported) -> None:
    for run in (reported.first, reported.second):
        run.end(ENDED)
        reported.reports.take(RunLinked(run.run_id, "task", "http://task", False, False))
    reported.reports.take(RunPending(reported.second.run_id, "no answer"))
    link = {"clearml.task_id": "task", "clearml.task_url": "http://task"}
    assert reported.tags(reported.second) == link | {"clearml.state": "pending"}
    for write in reported.later:
        write()
    assert reported.tags(reported.first) == link | {"clearml.state": "live"}
    assert reported.tags(reported.second) == link | {"clearml.state": "pending"}


def test_a_process_that_exits_leaves_the_link_of_an_ended_run_to_its_worker(reported: Reported) -> None:
    reported.first.end(ENDED)
    reported.reports.take(RunLinked(reported.first.run_id, "task", "http://task", False, False))
    reported.reports.is_exiting = True
    for write in reported.later:
        write()
    assert reported.tags(reported.first) == {}


def test_a_run_that_waits_for_sync(reported: Reported, lines: list[str]) -> None:
    reported.reports.take(RunPending(reported.first.run_id, "no server; run `autoinstrument sync`"))
    assert reported.tags(reported.first) == {"clearml.state": "pending"}
    assert lines == ["run first: no server; run `autoinstrument sync`"]


def test_runs_that_are_left_are_reported_together_and_once(reported: Reported, lines: list[str]) -> None:
    runs = [reported.first, reported.second]
    assert reported.reports.leave(runs, "no worker") == runs
    assert reported.reports.leave(runs, "too late") == []
    assert len(lines) == 2, "the remedy of a run that is not recorded names the run"
    assert all("no worker; not recorded on disk" in line for line in lines)
    reported.second.deliver()
    reported.reports.tag_pending(runs)
    assert [reported.tags(run) for run in runs] == [{"clearml.state": "pending"}, {}]


@pytest.mark.parametrize("goes_on", [True, False], ids=["process", "thread"])
def test_each_run_is_named_if_the_end_comes_too_early(reported: Reported, lines: list[str], goes_on: bool) -> None:
    """Also one that the tracking store has not described yet: on a busy machine all threads are late."""
    reported.first.is_undescribed, reported.first.started = True, None
    reported.second.leave_alone()
    reported.second.started = None
    left = reported.reports.leave_late("not delivered to ClearML within 1 s", "", goes_on=goes_on)
    assert left == [reported.first]
    (line,) = lines
    assert line.startswith("run first: not delivered to ClearML within 1 s")
    reported.reports.tag_pending(left)
    assert reported.tags(reported.first) == {"clearml.state": "pending"}


def test_a_store_that_takes_no_tags_is_named_once_and_blocks_no_other(
    reported: Reported, lines: list[str], tmp_path: Path
) -> None:
    gone = [TrackedRun(name) for name in ("one", "other")]
    for run in gone:
        run.begin(f"sqlite:///{tmp_path}/gone.db", "", owned=True)
    reported.reports.tag_pending([*gone, reported.first])
    assert reported.tags(reported.first) == {"clearml.state": "pending"}
    assert len(lines) == 1
    assert lines[0].startswith("run one is not tagged as pending in MLflow (")
    assert not (tmp_path / "gone.db").exists()


def test_an_abort_is_logged_before_it_is_answered(reported: Reported, lines: list[str]) -> None:
    reported.reports.take(RunAborted(reported.first.run_id, "stopped in ClearML"))
    assert lines == ["run first: stopped in ClearML; this process receives SIGTERM"]
    assert reported.replies == [AbortLogged(reported.first.run_id)]


def test_missing_code_is_reported_once_a_reason(reported: Reported, lines: list[str]) -> None:
    for reason in ("no git", "no git", "too large"):
        reported.reports.take(CodeLacking(reason))
    assert lines == ["no git", "too large"]


def test_a_second_worker_is_reported_once_a_cause(reported: Reported, lines: list[str]) -> None:
    """Only if a run has a Task, which may lack text."""
    reported.reports.worker_lost()
    assert lines == []
    reported.reports.take(RunLinked(reported.first.run_id, "task", "", adopted=False, delivered=False))
    del lines[:]
    for is_stopped in (False, True, True, False):
        if is_stopped:
            reported.reports.take(WorkerStopped(0))
        reported.reports.worker_lost()
    died, stopped = lines
    assert died == "the worker process has died; another one continues, some console lines may be missing"
    assert stopped == "the worker process was stopped by a command; another one continues"


def test_a_container_that_is_about_to_end(reported: Reported, caplog: pytest.LogCaptureFixture) -> None:
    """Its runs are ended in MLflow at once; one that has ended, or is another process's, is not touched."""
    reported.client.set_terminated(reported.second.run_id, "FINISHED")
    runs = [reported.first.run_id, reported.second.run_id, "another"]
    with caplog.at_level(logging.WARNING, "autoinstrument"):
        reported.reports.take(RunsKilled(runs, "aborted in ClearML: bad loss"))
    statuses = [reported.stored(run).info.status for run in (reported.first, reported.second)]
    assert statuses == ["KILLED", "FINISHED"]
    assert "run first: aborted in ClearML: bad loss; the ClearML agent ends this container" in caplog.text


def test_at_the_end_of_the_process_the_worker_is_left_to_write_the_tags(reported: Reported) -> None:
    """What a thread writes then may be rolled back: the worker must not take it for written."""
    delivered = RunLinked(reported.first.run_id, "task", "https://clearml/task", adopted=False, delivered=True)
    reported.first.end(ENDED)
    reported.reports.end()
    try:
        reported.reports.take(delivered)  # on the thread that has closed the stores, which no other thread can use
        assert reported.replies == []
    finally:
        reported.reports.go_on()
    reported.reports.take(delivered)
    assert reported.replies == [RunTagged(reported.first.run_id)]
