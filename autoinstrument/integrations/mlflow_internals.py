"""The private parts of MLflow that the integrations use; all were seen in mlflow 2.16 to 3.17.

MLflow's public functions are many and call each other; each of these parts is the one place that all calls of a kind
come to. Where a version lacks one, the integration does less, and `autoinstrument doctor` names what is missing, unless
that version never had it (see `lost`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

TRACKING_CLIENT = "TrackingServiceClient"
"""Class in `mlflow.tracking._tracking_service.client`, whose methods all other ways to log call: the fluent functions,
the public `MlflowClient`, and autologging's queueing client."""
REGISTRY_CLIENT = "ModelRegistryClient"
"""Class in `mlflow.tracking._model_registry.client`."""
TRACING_CLIENT = "TracingClient"
"""Class in `mlflow.tracing.client`, since 3.0."""

LOG_ARTIFACT_ASYNC = "_log_artifact_async"
"""Method of the tracking client; what it is given is written by a thread of MLflow's."""
RECORD_LOGGED_MODEL = "_record_logged_model"
"""Method of the tracking client, until 2.x: it keeps a run's models in a tag, without `set_tag`."""

FETCH = "_download_artifact_from_uri"
"""Function in `mlflow.tracking.artifact_utils` that fetches artifacts of any address; every `load_model` calls it."""

_SOURCE_RUN, _EVALUATING_RUN = "mlflow.sourceRun", "mlflow.assessment.sourceRunId"


_SINCE: dict[str, tuple[int, int]] = {
    **{
        f"{TRACKING_CLIENT}.{name}": (3, 0)
        for name in (
            "create_logged_model", "delete_logged_model", "delete_logged_model_tag", "finalize_logged_model",
            "log_model_params", "log_outputs", "set_logged_model_tags",
        )
    },
    f"{TRACKING_CLIENT}.link_traces_to_run": (3, 5),
    f"{TRACKING_CLIENT}.unlink_traces_from_run": (3, 5),
    f"{REGISTRY_CLIENT}.link_prompt_version_to_run": (3, 5),
}  # fmt: skip
"""Wrapped functions that versions before these lack (seen in 2.16, 2.22, 3.0, 3.5 and 3.17)."""
_REPLACED = {
    f"{TRACKING_CLIENT}.start_trace", f"{TRACKING_CLIENT}.end_trace",  # until 2.x
    f"{TRACING_CLIENT}.start_trace_v3", f"{TRACING_CLIENT}.end_trace",  # in 3.0, not in 3.5
}  # fmt: skip
"""Wrapped functions in whose place later versions have others, which are wrapped, too."""


def lost(missing: Iterable[str], version: str) -> list[str]:
    """Return those of the functions that could not be wrapped which this version of MLflow should have."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return sorted(name for name in set(missing) - _REPLACED if numbers >= _SINCE.get(name, (0, 0)))


def end_runs_at_exit(fluent: ModuleType) -> Callable[[], None] | None:
    """Return the at-exit handler of `mlflow.tracking.fluent`, which ends the runs that are still open."""
    return getattr(fluent, "_safe_end_run", None)


def import_hooks(module: ModuleType) -> Mapping[str, Any]:
    """Return the hooks of `mlflow.utils.import_hooks` by the module that each waits for: a live view."""
    hooks: Mapping[str, Any] = vars(module).get("_post_import_hooks", {})
    return hooks


def import_hook_finder(module: ModuleType) -> type:
    """Return the finder of `mlflow.utils.import_hooks`.

    Raises:
        LookupError: this version has none.
    """
    finder = vars(module).get("ImportHookFinder")
    if not isinstance(finder, type):
        raise LookupError(f"{module.__name__} has no class ImportHookFinder")  # noqa: TRY004  (another version)
    return finder


def source_run(trace: Any) -> str | None:
    """Return the id of the run that was active when a trace began, None for none.

    The metadata of a trace is `request_metadata` in 2.x and `trace_metadata` in 3.x.
    """
    metadata = getattr(trace, "trace_metadata", None) or getattr(trace, "request_metadata", None) or {}
    run_id: str | None = metadata.get(_SOURCE_RUN)
    return run_id


def active_model() -> str:
    """Return the id of the model to which metrics of this thread belong that name none, "" for none (since 3.0)."""
    get = vars(sys.modules.get("mlflow.tracking.fluent") or object).get("get_active_model_id")
    return str(get() or "") if get is not None else ""


def evaluating_run(assessment: Any) -> str | None:
    """Return the id of the run whose evaluation has made an assessment (3.5 to 3.17), None for any other one."""
    run_id: str | None = (getattr(assessment, "metadata", None) or {}).get(_EVALUATING_RUN)
    return run_id
