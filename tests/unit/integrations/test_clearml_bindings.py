"""ClearML's bindings pass over files that MLflow writes into temporary folders, and over no others."""

from __future__ import annotations

import tempfile
import types
from pathlib import Path
from typing import Any

import pytest
from clearml.binding.frameworks import WeightsFileHandler

from autoinstrument.bootstrap import support
from autoinstrument.integrations.clearml_bindings import instrument_figures, instrument_models


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that counts as the temporary one; a test's own lies in the real one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(support, "_wanted", True)
    return folder


def call_from(module: str, call: Any, *arguments: Any) -> Any:
    """Call a function from code of a module of that name."""
    scope: dict[str, Any] = {"__name__": module}
    exec("def run(call, arguments): return call(*arguments)", scope)
    return scope["run"](call, arguments)


def test_model_files(temporary_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback stands where the SDK's own `add_pre_callback` would put it."""
    monkeypatch.setattr(WeightsFileHandler, "_model_pre_callbacks", {})
    instrument_models(types.SimpleNamespace(WeightsFileHandler=WeightsFileHandler))  # type: ignore[arg-type]
    (callback,) = WeightsFileHandler._model_pre_callbacks.values()
    for module, folder, is_kept in (
        ("mlflow.xgboost", temporary_folder, False),
        ("mlflow.xgboost", tmp_path / "models", True),
        ("train", temporary_folder, True),
        ("mlflowers", temporary_folder, True),
    ):
        model = types.SimpleNamespace(local_model_path=str(folder / "model.ubj"))
        assert (call_from(module, callback, "save", model) is model) is is_kept, (module, folder)
    assert call_from("mlflow.xgboost", callback, "save", None) is None


def test_figures(temporary_folder: Path) -> None:
    reported, saved = [], []

    class Binding:
        patched_savefig = staticmethod(lambda figure, *args, **kwargs: reported.append((args, kwargs)))
        _patched_original_savefig = staticmethod(lambda figure, *args, **kwargs: saved.append((args, kwargs)))

    instrument_figures(types.SimpleNamespace(PatchedMatplotlib=Binding))  # type: ignore[arg-type]
    path = str(temporary_folder / "figure.png")
    call_from("mlflow.tracking.client", Binding.patched_savefig, "figure", path)
    call_from("train", Binding.patched_savefig, "figure", path)
    call_from("mlflow.tracking.client", Binding.patched_savefig, "figure", "/work/figure.png")
    assert saved == [((path,), {})]
    assert reported == [((path,), {}), (("/work/figure.png",), {})]


def test_everything_is_clearmls_where_the_agent_is_not_wanted(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "_wanted", False)
    monkeypatch.setattr(WeightsFileHandler, "_model_pre_callbacks", {})
    instrument_models(types.SimpleNamespace(WeightsFileHandler=WeightsFileHandler))  # type: ignore[arg-type]
    (callback,) = WeightsFileHandler._model_pre_callbacks.values()
    model = types.SimpleNamespace(local_model_path=str(temporary_folder / "model.ubj"))
    assert call_from("mlflow.xgboost", callback, "save", model) is model
