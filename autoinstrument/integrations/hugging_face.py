"""Keep Hugging Face's libraries from logging to ClearML directly: the run's Task holds the same.

"Report to all" means every tracker that is installed, and this package requires clearml. The libraries' integrations
call `Task.init` in the training process, which reseeds random generators, makes a second Task, and raises where ClearML
is not configured. Seen with `TrainingArguments(report_to="all")` of transformers 4.57, where it is the default, and
5.24, and with `Accelerator(log_with="all")` of accelerate 1.15.

Nothing changes where the script names ClearML or has imported clearml itself, and in processes without MLflow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from autoinstrument.bootstrap.support import is_wanted
from autoinstrument.guard import guard
from autoinstrument.integrations.wrapping import wrap
from autoinstrument.tracebacks import users_call

_CLEARML, _MLFLOW = "clearml", "mlflow"


def instrument_transformers(module: ModuleType) -> None:
    """Wrap the function of `transformers.integrations.integration_utils` that lists trackers for `report_to="all"`."""
    wrap(module, "get_available_reporting_integrations", _available)


def instrument_accelerate(module: ModuleType) -> None:
    """Wrap the function of `accelerate.tracking` that reads `log_with`."""
    wrap(module, "filter_trackers", _filtered)


def _available(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with users_call:
        trackers = wrapped(*args, **kwargs)
    return _without_clearml(trackers, "all")


def _filtered(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with users_call:
        trackers = wrapped(*args, **kwargs)
    return _without_clearml(trackers, kwargs.get("log_with", args[0] if args else None))


def _without_clearml(trackers: list[Any], asked: Any) -> list[Any]:
    """Return the trackers without ClearML where an MLflow run will have its Task, all of them elsewhere."""
    with guard("leaving out ClearML's callback"):
        names = _names(trackers)
        is_by_name = _CLEARML in _names(asked if isinstance(asked, (list, tuple)) else [asked])
        if _CLEARML in names and not is_by_name and _CLEARML not in sys.modules and _runs_have_tasks(names):
            return [tracker for name, tracker in zip(names, trackers, strict=True) if name != _CLEARML]
    return trackers


def _names(trackers: Iterable[Any]) -> list[Any]:
    """Return the names of trackers: transformers has strings, accelerate members of an enumeration and objects."""
    return [getattr(tracker, "value", tracker) for tracker in trackers]


def _runs_have_tasks(names: list[Any]) -> bool:
    if _MLFLOW in names:
        import mlflow  # noqa: F401  (as the library's integration is about to do)
    return sys.modules.get(_MLFLOW) is not None and is_wanted()
