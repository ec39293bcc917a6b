"""Keep ClearML's bindings from logging files that MLflow writes to temporary folders on the way to its store.

The bindings are active if a script called `Task.init` itself: they log each model file and each figure that is saved.
For `mlflow.xgboost.log_model` or `mlflow.log_figure` they would log a second copy, at the address of a file that is
gone a moment later (clearml 1.16 to 2.1.12: torch, XGBoost, matplotlib). They still log what the script itself saves.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from autoinstrument.bootstrap.support import is_wanted
from autoinstrument.guard import guard
from autoinstrument.integrations.clearml_internals import filter_models, replace_figure_binding
from autoinstrument.tracebacks import users_call


def instrument_models(module: ModuleType) -> None:
    """Let the bindings of `clearml.binding.frameworks` leave out MLflow's model files."""
    filter_models(module, "autoinstrument", _unless_of_mlflow)


def instrument_figures(module: ModuleType) -> None:
    """Let the binding of `clearml.binding.matplotlib_bind` leave out MLflow's figures."""
    replace_figure_binding(module, _figure_binding)


def _figure_binding(reporting: Callable[..., Any], original: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    @functools.wraps(reporting)
    def savefig(figure: Any, *args: Any, **kwargs: Any) -> Any:
        path = kwargs.get("fname") or (args[0] if args else "")
        save = original() if _is_of_mlflow(path) else reporting
        with users_call:
            return save(figure, *args, **kwargs)

    return savefig


def _unless_of_mlflow(_: Any, model: Any) -> Any:
    """Return ClearML's description of a model file, None if ClearML must leave the file out."""
    return None if model is not None and _is_of_mlflow(model.local_model_path) else model


def _is_of_mlflow(path: Any) -> bool:
    """Return True if a file is below the temporary folder, and MLflow's code is saving or loading it.

    If autologging runs a whole training, a file that the script saves there itself counts as MLflow's too.
    """
    with guard("telling MLflow's files from the script's"):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(tempfile.gettempdir() + os.sep):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None:
                if frame.f_globals.get("__name__", "").startswith("mlflow."):
                    return is_wanted()
                frame = frame.f_back
    return False
