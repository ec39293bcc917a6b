"""The live feed of models, data sets and traces: note which run has changed, and have its state read soon.

What a call has changed cannot be told from its arguments alone: a version has aliases, an alias moves from one version
to another. So the wrappers only note the run, and the reader that serves `sync` (`store.STATES`) reads the rest, on the
sending thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.from_mlflow.access import store_access
from autoinstrument.from_mlflow.references import wrap
from autoinstrument.from_mlflow.store import read_state
from autoinstrument.from_mlflow.unsupported import if_supported
from autoinstrument.from_mlflow.watching import know, watched
from autoinstrument.records import ModelsLogged, Record

_SOURCE_RUN = "mlflow.sourceRun"

_runs_of_model: dict[str, set[str]] = {}
"""Runs that were read in this process, by the names of the registered models and the URIs of the models they have."""


def _changed(the_agent: Agent, client: Any, run_id: str | None, kind: str, *, linked: bool = False) -> None:
    """Have one kind of a run's data read; the one place that all changes come to.

    With `linked`, a run that is not this process's is left alone unless it has a Task.
    """
    if run_id:
        know(the_agent, client, run_id, linked=linked)
        the_agent.post_soon(run_id, kind, functools.partial(_read, client.tracking_uri, run_id, kind))


def _read(tracking_uri: str, run_id: str, kind: str) -> Record:
    record = read_state(tracking_uri, run_id, kind)
    if isinstance(record, ModelsLogged):
        for model in record.models:
            for name in (model["uri"], *(version["name"] for version in model["versions"])):
                _runs_of_model.setdefault(name, set()).add(run_id)
    return record


# Runs


def _inputs_logged(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _changed(the_agent, client, call["run_id"], "inputs")


def _model_logged(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _changed(the_agent, client, call["run_id"], "models")


def _traces_linked(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _changed(the_agent, client, call["run_id"], "traces")


def _trace_started(the_agent: Agent, client: Any, _: dict[str, Any], trace: Any) -> None:
    """Note the run that was active when the trace began; the trace says it itself, under either of two names."""
    metadata = getattr(trace, "trace_metadata", None) or getattr(trace, "request_metadata", None) or {}
    _changed(the_agent, client, metadata.get(_SOURCE_RUN), "traces")


# Models of MLflow 3


def _entity_made(the_agent: Agent, client: Any, _: dict[str, Any], entity: Any) -> None:
    _changed(the_agent, client, entity.source_run_id, "models")


def _entity_changed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    model_id = call["model_id"]
    _models_changed(the_agent, client, f"models:/{model_id}", lambda: client.get_logged_model(model_id).source_run_id)


# The registry


def _version_made(the_agent: Agent, client: Any, _: dict[str, Any], version: Any) -> None:
    _changed(the_agent, _tracking(client), version.run_id, "models", linked=True)


def _version_changed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    name, version = call["name"], call["version"]
    _models_changed(the_agent, _tracking(client), name, lambda: client.get_model_version(name, version).run_id)


def _name_changed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _models_changed(the_agent, _tracking(client), call["name"], str)


def _models_changed(the_agent: Agent, client: Any, name: str, ask: Callable[[], str | None]) -> None:
    """Note the runs known to have models of this name, and the one that the store knows; off the calling thread."""

    def find() -> None:
        with store_access():
            asked = if_supported(lambda: [ask()])
        for run_id in {*_runs_of_model.get(name, ()), *asked}:
            _changed(the_agent, client, run_id, "models", linked=True)

    the_agent.post(find)


def _tracking(registry: Any) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=registry.tracking_uri)


TRACKING: dict[str, Any] = {
    "log_inputs": watched(_inputs_logged, "run_id", "datasets", "models"),
    "log_outputs": watched(_model_logged, "run_id", "models"),
    "_record_logged_model": watched(_model_logged, "run_id", "mlflow_model"),
    "create_logged_model": watched(_entity_made),
    "finalize_logged_model": watched(_entity_changed, "model_id", "status"),
    "set_logged_model_tags": watched(_entity_changed, "model_id", "tags"),
    "delete_logged_model_tag": watched(_entity_changed, "model_id", "key"),
    "delete_logged_model": watched(_entity_changed, "model_id"),
    "link_traces_to_run": watched(_traces_linked, "trace_ids", "run_id"),
    "unlink_traces_from_run": watched(_traces_linked, "trace_ids", "run_id"),
    "start_trace": watched(_trace_started),
}
"""Methods of `TrackingServiceClient`; one that a version lacks is left out, here and below."""

_TRACING: dict[str, Any] = {"start_trace": watched(_trace_started), "start_trace_v3": watched(_trace_started)}
"""Methods of `TracingClient`, which exists since mlflow 2.21."""

_REGISTRY: dict[str, Any] = {
    "create_model_version": watched(_version_made),
    "copy_model_version": watched(_version_made),
    "update_model_version": watched(_version_changed, "name", "version", "description"),
    "transition_model_version_stage": watched(_version_changed, "name", "version", "stage"),
    "set_model_version_tag": watched(_version_changed, "name", "version", "key", "value"),
    "delete_model_version_tag": watched(_version_changed, "name", "version", "key"),
    "set_registered_model_alias": watched(_version_changed, "name", "alias", "version"),
    "delete_registered_model_alias": watched(_name_changed, "name", "alias"),
    "delete_model_version": watched(_name_changed, "name", "version"),
    "rename_registered_model": watched(_name_changed, "name", "new_name"),
    "delete_registered_model": watched(_name_changed, "name"),
}
"""Methods of `ModelRegistryClient`."""


def instrument_registry(module: ModuleType) -> None:
    """Wrap `ModelRegistryClient` of `mlflow.tracking._model_registry.client`."""
    for name, around in _REGISTRY.items():
        wrap(module.ModelRegistryClient, name, around)


def instrument_tracing(module: ModuleType) -> None:
    """Wrap `TracingClient` of `mlflow.tracing.client`."""
    for name, around in _TRACING.items():
        wrap(module.TracingClient, name, around)
