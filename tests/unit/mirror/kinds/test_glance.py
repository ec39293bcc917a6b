"""A quick comparison of a run with its Task shows each difference that a search can show, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.mirror import kinds
from autoinstrument.mirror.kinds.kind import TaskOfRun
from autoinstrument.mlflow_store.runs import StoredRun
from autoinstrument.records import RunStarted
from autoinstrument.settings import Settings
from autoinstrument.sync.verify import is_up_to_date, task_fields

TAGS = {"team": "vision", "mlflow.note.content": "a note", "clearml.task_id": "t", "clearml.state": "synced"}
RUN = RunStarted("r", "name", "0", "exp", "sqlite:////x", "", "", 1, "", TAGS, True, True, "")
STORED = StoredRun(RUN, "FINISHED", False, {"lr": "0.1"}, {"val/loss": 1.0, "odd": float("nan")})
TASK: dict[str, Any] = {
    "id": "t",
    "status": "completed",
    "name": "name",
    "comment": "a note",
    "system_tags": ["development"],
    "hyperparams": {
        "properties": {"mlflow_run_id": {"value": "r"}, "mlflow_experiment": {"value": "exp"}},
        "MLflow": {"lr": {"value": "0.1"}},
        "MLflow tags": {"team": {"value": "vision"}},
    },
    "last_metrics": {"a": {"b": {"metric": "val", "variant": "loss"}}},
}


def found(task: dict[str, Any], stored: StoredRun = STORED, parent: str = "") -> set[str]:
    of = TaskOfRun(stored, task, Settings(), lambda: parent)
    differences = {difference.what for kind in kinds.KINDS for difference in kind.glance(of)}
    assert is_up_to_date(of) == (not differences)
    return differences


def test_a_task_that_equals_its_run_needs_no_work() -> None:
    assert found(TASK) == set()


def with_section(section: str, **items: str) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in items.items()}
    return {"hyperparams": {**TASK["hyperparams"], section: named}}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"name": "other"}, "name"),
        ({"comment": "other"}, "note"),
        ({"status": "in_progress"}, "status"),
        ({"system_tags": ["development", "archived"]}, "status"),
        ({"last_metrics": {}}, "metric"),
        ({"id": "another"}, "link"),
        (with_section("properties", mlflow_experiment="exp"), "link"),
        (with_section("properties", mlflow_run_id="r", mlflow_experiment="former"), "project"),
        (with_section("MLflow"), "parameter"),
        (with_section("MLflow", lr="0.2"), "parameter"),
        (with_section("MLflow tags"), "tag"),
        (with_section("MLflow tags", team="vision", old="is gone in MLflow"), "tag"),
    ],
)
def test_a_difference_is_seen(change: dict[str, Any], kind: str) -> None:
    assert found({**TASK, **change}) == {kind}
    assert change.keys() - {"id"} <= set(task_fields()), "the field is asked for"


@pytest.mark.parametrize(
    ("rows", "count", "status", "differs"),
    [
        ({}, 1, "completed", True),
        ({}, 2, "completed", False),
        ({}, 1, "published", False),
        ({"val/loss": 1.0}, 1, "completed", False),
        ({"val/loss": 0.5}, 2, "completed", True),
        ({"val/loss": 0.5}, 2, "published", False),
    ],
)
def test_a_single_value_is_missed_if_the_curve_has_one_point_and_follows_the_last_value(
    rows: dict[str, float], count: int, status: str, differs: bool
) -> None:
    held = {name: {"metric": "Summary", "variant": name, "value": value, "count": 1} for name, value in rows.items()}
    last = {"a": {"b": {"metric": "val", "variant": "loss", "count": count}}, "c": held}
    assert found({**TASK, "last_metrics": last, "status": status}) == ({"metric"} if differs else set())


def test_a_parent_that_was_made_later_is_a_difference() -> None:
    assert found(TASK, parent="p") == {"link"}
    assert found({**TASK, "parent": "p"}, parent="p") == set()


def test_a_deleted_run_takes_no_tags_and_its_task_is_archived() -> None:
    deleted = STORED._replace(deleted=True, run=RUN._replace(tags={**TAGS, "clearml.state": "live"}))
    assert found(TASK, deleted) == {"status"}
    assert found({**TASK, "system_tags": ["archived"]}, deleted) == set()


def test_an_adopted_task_keeps_its_owners_name_comment_and_status() -> None:
    own = with_section("properties", mlflow_run_id="r", mlflow_experiment="exp", mlflow_task_adopted="t")
    assert found({**TASK, **own, "name": "own", "comment": "own", "status": "failed"}) == set()


@pytest.mark.parametrize(
    ("of_mlflow", "of_task", "reason", "differs"),
    [
        ("FINISHED", "failed", "", False),  # a crash that MLflow does not know of
        ("FINISHED", "stopped", "", False),
        ("FAILED", "completed", "", True),  # a failure that the Task does not know of
        ("KILLED", "failed", "", False),
        ("FINISHED", "queued", "", True),
        ("FINISHED", "published", "", False),
        ("FINISHED", "stopped", "MLflow: KILLED", True),  # it was taken for dead, and went on
        ("FINISHED", "stopped", "no sign of life since 2026-11-28 03:00:00 UTC", True),
        ("KILLED", "stopped", "no sign of life since 2026-11-28 03:00:00 UTC", False),
    ],
)
def test_a_task_that_has_ended_knows_how_unless_it_lacks_a_failure(
    of_mlflow: str, of_task: str, reason: str, differs: bool
) -> None:
    task = {**TASK, "status": of_task, "status_reason": reason}
    assert found(task, STORED._replace(status=of_mlflow)) == ({"status"} if differs else set())
