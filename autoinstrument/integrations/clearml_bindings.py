"""Keep ClearML's bindings from logging the files that MLflow writes into temporary folders on the way to its store.

The bindings are active where a script called `Task.init` itself: each model file and each figure that is saved becomes
the Task's. For `mlflow.xgboost.log_model` or `mlflow.log_figure` that would be a second copy, whose address is a file
that is gone a moment later (seen with clearml 1.16 and 2.1.12: torch, XGBoost, matplotlib). Files that the script saves
are logged by ClearML as before.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from types import FrameType, ModuleType
from typing import Any

from autoinstrument.bootstrap.support import is_wanted
from autoinstrument.guard import guard
from autoinstrument.tracebacks import users_call


def instrument_models(module: ModuleType) -> None:
    """Let the bindings of `clearml.binding.frameworks` pass over model files that are MLflow's."""
    # What `WeightsFileHandler.add_pre_callback` does; that takes its handle from the script's random numbers.
    module.WeightsFileHandler._model_pre_callbacks["autoinstrument"] = _unless_mlflows


def instrument_figures(module: ModuleType) -> None:
    """Let the binding of `clearml.binding.matplotlib_bind` pass over figures that are MLflow's."""
    binding = module.PatchedMatplotlib
    reporting = binding.patched_savefig

    @functools.wraps(reporting)
    def savefig(figure: Any, *args: Any, **kwargs: Any) -> Any:
        path = kwargs.get("fname") or (args[0] if args else "")
        save = binding._patched_original_savefig if _is_mlflows(path) else reporting
        with users_call:
            return save(figure, *args, **kwargs)

    binding.patched_savefig = staticmethod(savefig)


def _unless_mlflows(_: Any, model: Any) -> Any:
    """Return what ClearML knows of a file that is being saved or loaded, None where ClearML must forget it."""
    return None if model is not None and _is_mlflows(model.local_model_path) else model


def _is_mlflows(path: Any) -> bool:
    """Return True if a file lies below the temporary folder, and MLflow's code saves or loads it.

    Where autologging runs a whole training, a file that the script puts there itself counts as MLflow's too.
    """
    with guard("telling MLflow's files from the script's"):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(tempfile.gettempdir() + os.sep):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None:
                if frame.f_globals.get("__name__", "").startswith("mlflow."):
                    return is_wanted()
                frame = frame.f_back
    return False
