"""Threads of the agent pass MLflow's import hooks by; those of the training run them."""

from __future__ import annotations

import types

import pytest
from mlflow.utils import import_hooks

from autoinstrument.guard import own_calls
from autoinstrument.integrations.mlflow_imports import instrument_import_hooks
from tests.unit.integrations.conftest import copied


@pytest.fixture
def module() -> types.ModuleType:
    copy = copied(import_hooks, "ImportHookFinder")
    vars(copy)["_post_import_hooks"] = {"json": [lambda module: None]}
    instrument_import_hooks(copy)
    return copy


def test_the_agents_threads_leave_a_hooked_module_to_the_training(module: types.ModuleType) -> None:
    finder = module.ImportHookFinder()
    with own_calls():
        with pytest.raises(ModuleNotFoundError, match="json is left"):
            finder.find_spec("json", None)
        assert finder.find_spec("csv", None) is None


def test_other_threads_get_what_mlflow_finds(module: types.ModuleType) -> None:
    assert module.ImportHookFinder().find_spec("no_hook_waits_for_this", None) is None
