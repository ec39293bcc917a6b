"""Which runs a selection takes: recorded ones, those of the store, and running ones."""

from __future__ import annotations

import pytest

from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import RunStarted
from autoinstrument.sync.selection import Selection

RUN = RunStarted("r", "name", "0", "vision", "sqlite:////x", "", "", 1000, "", {}, False, True, "")
ONE, NAMED, ALL = Selection(runs=("r",)), Selection(experiments=("vision",)), Selection(everything=True)


def stored(run: RunStarted = RUN, **tags: str) -> StoredRun:
    return StoredRun(run._replace(tags=tags), "RUNNING", False, {}, {})


@pytest.mark.parametrize(
    ("selection", "searched", "asked"),
    [(Selection(), False, False), (ONE, False, True), (NAMED, True, True), (ALL, True, True)],
)
def test_the_store_is_searched_for_experiments_alone(selection: Selection, searched: bool, asked: bool) -> None:
    assert (selection.is_of_store, selection.asks_store) == (searched, asked)


@pytest.mark.parametrize(
    ("selection", "is_taken"),
    [
        (Selection(), True),
        (ALL._replace(since_ms=2000), True),  # recorded runs wait, however old they are
        (ONE, True),
        (Selection(runs=("other",)), False),
        (NAMED, True),
        (NAMED._replace(since_ms=1000), True),
        (NAMED._replace(since_ms=1001), False),
        (Selection(experiments=("other",)), False),
        (Selection(runs=("r",), experiments=("other",)), True),
        (Selection(runs=("r",), experiments=("vision",), since_ms=2000), True),
    ],
)
def test_recorded_runs(selection: Selection, is_taken: bool) -> None:
    assert selection.has_recorded(RUN) == is_taken


def test_a_recorded_run_whose_experiment_is_not_known_may_be_of_any() -> None:
    unknown = RUN._replace(experiment_id="", experiment_name="", start_time_ms=0)
    assert not unknown.is_described
    assert Selection(experiments=("other",), since_ms=2000).has_recorded(unknown)
    assert not Selection(runs=("other",)).has_recorded(unknown)


def test_deleted_runs_of_the_store() -> None:
    """Those with a Task always, because it must be archived; the others only if it is asked for."""
    deleted = stored()._replace(deleted=True)
    assert not ALL.has_stored(deleted)
    assert ALL._replace(deleted=True).has_stored(deleted)
    assert ALL.has_stored(stored(**{TASK_ID: "t"})._replace(deleted=True))


def test_a_run_that_another_part_is_at_work_on_is_left_alone() -> None:
    assert ALL.has_stored(stored())
    assert not ALL._replace(left_alone={"r"}).has_stored(stored())


def test_patterns_leave_out_what_nobody_has_named() -> None:
    assert ALL.leaves_out(stored(), ["other"])
    assert not ALL.leaves_out(stored(), ["*"])
    assert not NAMED.leaves_out(stored(), ["other"])


def test_running_runs() -> None:
    assert ALL.has_running(stored(), ["*"])
    assert not ALL.has_running(stored(), ["other"])
    assert NAMED.has_running(stored(), ["other"])
    assert not NAMED._replace(since_ms=1001).has_running(stored(), ["*"])
