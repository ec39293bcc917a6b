"""ClearML is left out of "all trackers", and stays where it was asked for. The real libraries: tests/frameworks."""

from __future__ import annotations

import sys
import types
from enum import Enum

import pytest

from autoinstrument.bootstrap import support
from autoinstrument.integrations.hugging_face import instrument_accelerate, instrument_transformers


class LoggerType(Enum):
    """As accelerate names its trackers."""

    MLFLOW = "mlflow"
    CLEARML = "clearml"
    ALL = "all"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stands in for both libraries: returns what they return in a process that has not imported clearml."""
    made = types.ModuleType("trackers")
    vars(made).update(
        get_available_reporting_integrations=lambda: ["mlflow", "clearml", "tensorboard"],
        filter_trackers=lambda log_with, logging_dir=None: [LoggerType.MLFLOW, LoggerType.CLEARML],
    )
    instrument_transformers(made)
    instrument_accelerate(made)
    monkeypatch.delitem(sys.modules, "clearml", raising=False)
    monkeypatch.setattr(support, "_wanted", True)
    return made


def test_all_of_transformers_is_all_but_clearml(module: types.ModuleType) -> None:
    assert module.get_available_reporting_integrations() == ["mlflow", "tensorboard"]


@pytest.mark.parametrize("asked", ["all", ["all"], LoggerType.ALL, [LoggerType.ALL]])
def test_all_of_accelerate_is_all_but_clearml(module: types.ModuleType, asked: object) -> None:
    assert module.filter_trackers(asked) == [LoggerType.MLFLOW]
    assert module.filter_trackers(log_with=asked) == [LoggerType.MLFLOW]


@pytest.mark.parametrize("asked", ["clearml", ["mlflow", "clearml"], [LoggerType.CLEARML]])
def test_clearml_by_its_name_stays(module: types.ModuleType, asked: object) -> None:
    assert LoggerType.CLEARML in module.filter_trackers(asked)


def test_clearml_stays_for_a_script_that_imported_it(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clearml", types.ModuleType("clearml"))
    assert "clearml" in module.get_available_reporting_integrations()


def test_clearml_stays_where_runs_have_no_tasks(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "_wanted", False)
    assert "clearml" in module.get_available_reporting_integrations()
