"""A process below a ClearML agent reads the agent's Task once, and its children inherit what it has read."""

from __future__ import annotations

import json

import pytest

from autoinstrument.clone_run import task_description
from autoinstrument.clone_run.task_description import from_text, inherited, is_taken, pass_on, task_of_agent

WHOLE = {
    "task": "t",
    "run": "r",
    "settings": {"MLFLOW_TRACKING_URI": "http://h"},
    "sections": {"Args": {"lr": "0.1"}},
    "entry_point": "train.py --lr 0.1",
    "lineage": {"clearml.cloned_from": "o"},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"task": "t"}',
        json.dumps({**WHOLE, "task": 1}),
        json.dumps({**WHOLE, "settings": {"a": 1}}),
    ],
)
def test_a_text_that_is_no_description_is_not_taken_for_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_text(text) is None
    monkeypatch.setenv("AUTOINSTRUMENT_CLONE", text)
    assert inherited() is None
    assert task_of_agent() == ""
    assert not is_taken("t", "other")


def test_children_inherit_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_CLONE", "")
    pass_on(json.dumps(WHOLE))
    assert inherited() == WHOLE
    assert task_of_agent() == "t"


def test_a_description_that_no_variable_can_hold_is_read_by_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_CLONE", "")
    monkeypatch.setattr(task_description, "_LONGEST", 20)
    pass_on(json.dumps(WHOLE))
    assert inherited() is None


@pytest.mark.parametrize(
    ("task", "run", "taken"),
    [("t", "new", True), ("t", "r", False), ("t", "", False), ("other", "new", False)],
)
def test_the_agents_task_is_taken_as_soon_as_it_names_another_run(
    task: str, run: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOINSTRUMENT_CLONE", json.dumps({"task": "t", "run": "r"}))
    assert is_taken(task, run) is taken
