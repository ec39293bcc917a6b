"""Each private part of MLflow is there in the MLflow that is installed, and does what the integrations expect of it."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from mlflow.version import VERSION

from autoinstrument.integrations import (
    mlflow_artifacts,
    mlflow_internals,
    mlflow_models,
    mlflow_traces,
    mlflow_tracking,
)

MAJOR = int(VERSION.split(".")[0])


@pytest.mark.parametrize(
    ("module", "name", "methods"),
    [
        (
            "mlflow.tracking._tracking_service.client",
            mlflow_internals.TRACKING_CLIENT,
            {*mlflow_tracking._CLIENT, mlflow_internals.LOG_ARTIFACT_ASYNC},
        ),
        (
            "mlflow.tracking._model_registry.client",
            mlflow_internals.REGISTRY_CLIENT,
            {*mlflow_models._REGISTRY} - {"copy_model_version"},
        ),
    ],
)
def test_the_clients_have_the_methods(module: str, name: str, methods: set[str]) -> None:
    client = vars(import_module(module))[name]
    assert {method for method in methods if not callable(getattr(client, method, None))} == set()
    assert isinstance(vars(client).get("store"), property), "which says what store a client has opened"


def test_a_runs_models_are_kept_by_one_way_or_the_other() -> None:
    client = vars(import_module("mlflow.tracking._tracking_service.client"))[mlflow_internals.TRACKING_CLIENT]
    kept = {name for name in (mlflow_internals.RECORD_LOGGED_MODEL, "log_outputs") if hasattr(client, name)}
    assert kept & mlflow_models.TRACKING.keys()


@pytest.mark.skipif(MAJOR < 3, reason="since mlflow 3.0")
def test_the_tracing_client() -> None:
    client = vars(import_module("mlflow.tracing.client"))[mlflow_internals.TRACING_CLIENT]
    assert any(hasattr(client, name) for name in mlflow_traces._TRACING)


def test_the_at_exit_handler_is_the_one_that_mlflow_registers() -> None:
    fluent = import_module("mlflow.tracking.fluent")
    end_runs = mlflow_internals.end_runs_at_exit(fluent)
    assert callable(end_runs)
    assert f"atexit.register({end_runs.__name__})" in inspect.getsource(fluent)
    assert mlflow_internals.end_runs_at_exit(ModuleType("another version")) is None


def test_the_import_hooks_are_a_live_view() -> None:
    module = import_module("mlflow.utils.import_hooks")
    name = "a_module_that_nobody_has"
    module.register_post_import_hook(print, name)
    try:
        assert name in mlflow_internals.import_hooks(module)
    finally:
        module._post_import_hooks.pop(name)
    assert name not in mlflow_internals.import_hooks(module)
    assert mlflow_internals.import_hooks(ModuleType("another version")) == {}


def test_the_import_hooks_finder_finds_modules() -> None:
    finder = mlflow_internals.import_hook_finder(import_module("mlflow.utils.import_hooks"))
    assert callable(finder().find_spec)
    with pytest.raises(LookupError):
        mlflow_internals.import_hook_finder(ModuleType("another version"))


def test_the_run_of_a_trace() -> None:
    metadata = {"mlflow.sourceRun": "run"}
    assert mlflow_internals.source_run(SimpleNamespace(trace_metadata=metadata)) == "run"
    assert mlflow_internals.source_run(SimpleNamespace(request_metadata=metadata)) == "run"
    assert mlflow_internals.source_run(SimpleNamespace()) is None


def test_artifacts_that_another_thread_writes_are_noted() -> None:
    assert mlflow_internals.LOG_ARTIFACT_ASYNC in mlflow_artifacts.METHODS


def test_the_run_of_an_assessment() -> None:
    metadata = {"mlflow.assessment.sourceRunId": "run"}
    assert mlflow_internals.evaluating_run(SimpleNamespace(metadata=metadata)) == "run"
    assert mlflow_internals.evaluating_run(SimpleNamespace(metadata=None)) is None


def test_one_function_fetches_the_files_of_a_model() -> None:
    module = import_module("mlflow.tracking.artifact_utils")
    assert next(iter(inspect.signature(vars(module)[mlflow_internals.FETCH]).parameters)) == "artifact_uri"
    for flavor in ("sklearn", "pyfunc", "pytorch", "transformers", "langchain", "keras", "xgboost"):
        (spec,) = [find_spec(f"mlflow.{flavor}")]
        assert spec is not None
        assert spec.origin is not None
        texts = [file.read_text("utf-8") for file in Path(spec.origin).parent.glob("*.py")]
        assert any(f"{mlflow_internals.FETCH}(" in text for text in texts), flavor
