"""Whose Task it is follows from its properties, system tags and status."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api.task import (
    ADOPTED,
    DEVELOPMENT,
    Task,
    has_had_run,
    is_adopted,
    is_of_run,
    run_of,
    task_from,
)


def described(task_id: str = "t", *, status: str = "in_progress", tags: Any = (), **properties: str) -> dict[str, Any]:
    items = {name: {"value": value} for name, value in properties.items()}
    return {"id": task_id, "status": status, "system_tags": list(tags), "hyperparams": {"properties": items}}


MADE = described(tags=[DEVELOPMENT], mlflow_run_id="run")
CLONE = described("clone", mlflow_run_id="run", **{ADOPTED: "t"})
TAKEN = described(mlflow_run_id="run", **{ADOPTED: "t"})


@pytest.mark.parametrize(
    ("task", "run_id", "owned"),
    [
        (MADE, "run", True),
        (MADE, "other", False),
        ({**MADE, "status": "queued"}, "run", False),
        ({**MADE, "status": "completed"}, "run", True),
        (described(tags=[DEVELOPMENT]), "run", True),  # it has lost its properties
        (described(), "run", False),
        (CLONE, "run", False),
        ({**CLONE, "status": "completed"}, "run", False),
        (TAKEN, "run", True),
        ({**TAKEN, "status": "created"}, "run", False),  # its owner has reset it
        ({**TAKEN, "status": "queued"}, "run", False),
    ],
)
def test_a_task_is_of_its_run(task: dict[str, Any], run_id: str, owned: bool) -> None:
    assert is_of_run(task, run_id) is owned


def test_adopted_and_clones() -> None:
    assert [is_adopted(task) for task in (MADE, CLONE, TAKEN, {})] == [False, False, True, False]
    assert [has_had_run(task) for task in (MADE, CLONE, TAKEN, {})] == [True, False, True, False]
    assert [run_of(task) for task in (MADE, CLONE, {})] == ["run", "run", ""]


def test_the_record_of_a_task() -> None:
    held = {
        **TAKEN,
        "name": "one",
        "comment": "note",
        "parent": "p",
        "output": {"destination": "s3://bucket"},
        "last_metrics": {"a": {"b": {"metric": "loss", "variant": "loss", "count": 3}}},
        "execution": {"artifacts": [{"key": "in", "mode": "input"}, {"key": "out", "mode": "output"}, {"key": "old"}]},
    }
    task = task_from(held, "https://page", adopted=False)
    assert task == Task(
        id="t",
        url="https://page",
        adopted=True,
        points={("loss", "loss"): 3},
        artifacts={"out": {"key": "out", "mode": "output"}, "old": {"key": "old"}},
        status="in_progress",
        output="s3://bucket",
        run_id="run",
        parent="p",
        comment="note",
        name="one",
        properties=frozenset({"mlflow_run_id", "mlflow_task_adopted"}),
    )
    assert task_from({"id": "t"}, "", adopted=False) == Task("t", "", False, {}, {}, "", "")


@pytest.mark.parametrize(
    ("adopted", "name", "own"),
    [(True, "a person's", True), (True, "Clone Of x", False), (True, "Clone of x", False), (False, "x", False)],
)
def test_a_name_that_a_person_gave(adopted: bool, name: str, own: bool) -> None:
    assert Task("t", "", adopted, {}, {}, "", "", name=name).has_own_name is own
