"""The private parts of the ClearML SDK that are used in a training process, one function each.

All were seen in clearml 1.16 to 2.1.12. Nothing here imports clearml: the functions take its modules, or look whether
the script has imported it. The parts that the worker and commands use are in `clearml_api/sdk.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def main_task_id() -> str:
    """Return the id of the main Task of the script's own `Task.init`, "" if there is none.

    The public `Task.current_task()` would create a Task in a child process of a script that has one.
    """
    module = sys.modules.get("clearml.task")
    task = getattr(getattr(module, "Task", None), "_Task__main_task", None)
    return str(getattr(task, "id", "") or "")


def is_main_process() -> bool:
    """Return True if the main Task is of a `Task.init` in this process, and not in one that has started it.

    Child processes inherit the variable in which the SDK keeps the id of that process.
    """
    return os.environ.get("CLEARML_PROC_MASTER_ID", "").partition(":")[0] == str(os.getpid())


def filter_models(frameworks: ModuleType, name: str, keep: Callable[[Any, Any], Any]) -> None:
    """Let a function decide about each model file that the bindings of `clearml.binding.frameworks` see.

    `WeightsFileHandler.add_pre_callback` does the same, but takes its handle from the script's random numbers.

    Args:
        frameworks: the module `clearml.binding.frameworks`.
        name: name of the function among others; a second one of that name replaces it.
        keep: given a direction and ClearML's description of a file, returns the description, or None to leave the file
            out.
    """
    frameworks.WeightsFileHandler._model_pre_callbacks[name] = keep


def replace_figure_binding(
    matplotlib_bind: ModuleType, make: Callable[[Callable[..., Any], Callable[[], Callable[..., Any]]], Any]
) -> None:
    """Replace what `clearml.binding.matplotlib_bind` does when a figure is saved.

    Args:
        matplotlib_bind: that module.
        make: given the binding's function, and a function that returns matplotlib's own, returns the new one.
            Matplotlib's own is not known before the binding has patched matplotlib.
    """
    binding = matplotlib_bind.PatchedMatplotlib
    binding.patched_savefig = staticmethod(make(binding.patched_savefig, lambda: binding._patched_original_savefig))
