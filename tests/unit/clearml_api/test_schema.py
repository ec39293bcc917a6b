"""Answers are looked at before they are used."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.clearml_api import schema


@pytest.mark.parametrize(
    "given",
    [
        {"id": "1"},
        {"id": "1", "name": None, "execution": {}, "hyperparams": None, "models": [], "unknown": 3},
        {"id": "1", "hyperparams": {"a": {"b": {"value": ["anything"]}}}, "configuration": {"c": {"value": 1}}},
        {"id": "1", "last_metrics": {"x": {"y": {"metric": "m", "variant": "v", "count": 3, "value": "NaN"}}}},
        {"id": "1", "execution": {"artifacts": [{"key": "k", "display_data": [["a", "b"], ["rows", 1]]}]}},
    ],
)
def test_tasks(given: dict[str, Any]) -> None:
    assert schema.task(given) is given


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (None, "Task"),
        ([], "Task"),
        ({}, "Task"),
        ({"id": 1}, "Task.id"),
        ({"id": "1", "name": 1}, "Task.name"),
        ({"id": "1", "system_tags": ["a", 1]}, "Task.system_tags"),
        ({"id": "1", "hyperparams": {"a": {"b": 1}}}, "Task.hyperparams.a.b"),
        ({"id": "1", "hyperparams": {"a": None}}, "Task.hyperparams.a"),
        ({"id": "1", "last_metrics": {"a": {"b": {"count": "3"}}}}, "Task.last_metrics.a.b.count"),
        ({"id": "1", "execution": {"artifacts": [{"display_data": [1]}]}}, "Task.execution.artifacts.display_data"),
        ({"id": "1", "models": {"output": {"a": "b"}}}, "Task.models.output"),
    ],
)
def test_values_that_are_not_tasks(given: Any, part: str) -> None:
    with pytest.raises(ValueError, match=rf"^{part} has an unexpected shape$"):
        schema.task(given)


def test_models() -> None:
    given = {"id": "1", "tags": ["a"], "metadata": {"k": {"value": 1}}}
    assert schema.model(given) is given
    with pytest.raises(ValueError, match=r"model\.metadata\.k has an unexpected shape"):
        schema.model({"id": "1", "metadata": {"k": "v"}})
