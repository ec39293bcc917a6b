"""Each private part of the ClearML SDK that the training process uses is there, and its bindings leave MLflow's out."""

from __future__ import annotations

import tempfile
import types
from pathlib import Path
from typing import Any

import pytest

from autoinstrument.integrations import clearml_bindings, clearml_internals
from autoinstrument.integrations.clearml_current_task import existing_task_id

HERE = str(Path(tempfile.gettempdir()) / "model")


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearml_bindings, "is_wanted", lambda: True)


def as_mlflow(call: Any) -> Any:
    """Call a function as MLflow's code does."""
    scope: dict[str, Any] = {"__name__": "mlflow.somewhere", "call": call}
    exec("def run(): return call()", scope)
    return scope["run"]()


def test_models_of_mlflow_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from clearml.binding import frameworks

    callbacks: dict[Any, Any] = {}
    monkeypatch.setattr(frameworks.WeightsFileHandler, "_model_pre_callbacks", callbacks)
    clearml_bindings.instrument_models(frameworks)
    (keep,) = callbacks.values()
    file = types.SimpleNamespace(local_model_path=HERE)
    assert keep("save", file) is file
    assert as_mlflow(lambda: keep("save", file)) is None
    elsewhere = types.SimpleNamespace(local_model_path="/home/user/model")
    assert as_mlflow(lambda: keep("save", elsewhere)) is elsewhere
    assert as_mlflow(lambda: keep("save", None)) is None


def test_the_sdk_asks_its_callbacks_about_each_file() -> None:
    """It is this table that it goes through."""
    import inspect

    from clearml.binding.frameworks import WeightsFileHandler

    assert isinstance(WeightsFileHandler._model_pre_callbacks, dict)
    assert "_model_pre_callbacks" in inspect.getsource(WeightsFileHandler.create_output_model)


def test_figures_of_mlflow_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from clearml.binding import matplotlib_bind

    binding = matplotlib_bind.PatchedMatplotlib
    monkeypatch.setattr(binding, "patched_savefig", staticmethod(lambda figure, path: ("reported", figure, path)))
    clearml_bindings.instrument_figures(matplotlib_bind)
    monkeypatch.setattr(
        binding, "_patched_original_savefig", staticmethod(lambda figure, path: ("saved", figure, path))
    )
    assert binding.patched_savefig("figure", HERE) == ("reported", "figure", HERE)
    assert as_mlflow(lambda: binding.patched_savefig("figure", HERE)) == ("saved", "figure", HERE)


def test_the_task_that_the_process_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from clearml import Task

    for name in ("CLEARML_TASK_ID", "TRAINS_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert hasattr(Task, "_Task__main_task"), "the SDK has another name for it"
    assert existing_task_id() == ""
    monkeypatch.setattr(Task, "_Task__main_task", types.SimpleNamespace(id="t"))
    assert clearml_internals.main_task_id() == existing_task_id() == "t"
    monkeypatch.setattr(Task, "_Task__main_task", types.SimpleNamespace(id="offline-1"))
    assert existing_task_id() == ""
    monkeypatch.setenv("CLEARML_TASK_ID", "of the agent")
    assert existing_task_id() == "of the agent"
