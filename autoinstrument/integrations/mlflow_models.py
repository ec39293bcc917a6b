"""Mirror models and data sets: note which run has changed, and have its state read soon.

The arguments of a call do not show all that it changes: a version has aliases, and an alias moves from one version to
another. So the wrappers only note the run, and the reader that serves `sync` reads its state, on the sending thread.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from autoinstrument.agent import Agent
from autoinstrument.integrations import mlflow_inputs, mlflow_prompts
from autoinstrument.integrations.mlflow_internals import RECORD_LOGGED_MODEL, REGISTRY_CLIENT, active_model
from autoinstrument.integrations.observing import know, watched
from autoinstrument.integrations.wrapping import wrap_methods
from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.models import HISTORY
from autoinstrument.mlflow_store.prompts import LINKED
from autoinstrument.mlflow_store.run_reader import read_state
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import StoreNotThereError, if_supported
from autoinstrument.mlflow_store.stores import registry_client, tracking_client
from autoinstrument.mlflow_store.training_stores import note_stores
from autoinstrument.mlflow_store.workspaces import active
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ModelMetricsLogged, ModelPoint, ModelsLogged, Point, Record, TagsSet

_runs_of_entity: dict[str, set[str]] = {}
"""Runs that were read in this process, by the URIs of their models."""


class _Version(NamedTuple):
    """A version in the registry, as it was read last: its run, and whether it had an alias or a stage."""

    run_id: str
    is_marked: bool


_Name = tuple[str, str]
"""The tracking URI of the client that was called, and the name of a registered model in the registry beside it."""
_versions: dict[_Name, dict[str, _Version]] = {}
"""Versions of runs that were read in this process, by their number."""
_makers: dict[str, str] = {}
"""Runs that made models of MLflow 3, by model id; "" for a model that no run made, or that is gone."""
_holders: dict[_Name, set[str]] = {}
"""Versions with an alias, and the latest of each stage, as a call has read them."""


def _changed(
    the_agent: Agent,
    client: Any,
    run_id: str | None,
    kind: str,
    *,
    linked: bool = False,
    workspace: str | None = None,
) -> None:
    """Request a read of one kind of a run's data; all changes end here.

    With `linked`, a run of another process is left alone unless it has a Task.
    """
    if run_id:
        know(the_agent, client, run_id, linked=linked, workspace=workspace)
        read = functools.partial(_read, client.tracking_uri, the_agent.workspace_of(run_id), run_id, kind)
        the_agent.post_soon(run_id, kind, read)


def _read(tracking_uri: str, workspace: str, run_id: str, kind: str) -> Record:
    record = read_state(tracking_uri, workspace, run_id, kind)
    if isinstance(record, ModelsLogged):
        for model in record.models:
            _runs_of_entity.setdefault(model["uri"], set()).add(run_id)
            for version in model["versions"] or ():
                is_marked = bool(version["aliases"] or version["stage"])
                of_name = _versions.setdefault((tracking_uri, version["name"]), {})
                of_name[version["version"]] = _Version(run_id, is_marked)
        # The points have records. Here they would be sent again with each change of a model.
        return record._replace(models=[{**model, "points": []} for model in record.models])
    return record


# Runs


def _inputs_logged(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _changed(the_agent, client, call["run_id"], "inputs")
    if call.get("models"):
        mlflow_inputs.noted(the_agent, call["run_id"])


def _model_logged(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    _changed(the_agent, client, call["run_id"], "models")


def _model_recorded(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    """MLflow 2's store keeps a run's models in a tag, which it sets itself."""
    run_id = call["run_id"]
    _changed(the_agent, client, run_id, "models")
    _tag_set(the_agent, client, run_id, HISTORY)


def _tag_set(the_agent: Agent, client: Any, run_id: str, key: str) -> None:
    """Request a read of a known run's tag that MLflow's store has set by itself."""
    read = functools.partial(_tag, client.tracking_uri, the_agent.workspace_of(run_id), run_id, key)
    the_agent.post_soon(run_id, f"tag {key}", read)


def _tag(tracking_uri: str, workspace: str, run_id: str, key: str) -> Record | None:
    with store_access(tracking_uri, workspace):
        tags = tracking_client(tracking_uri).get_run(run_id).data.tags
    return TagsSet(run_id, {key: tags[key]}) if key in tags else None


# Models of MLflow 3


def _entity_made(the_agent: Agent, client: Any, _: dict[str, Any], entity: Any) -> None:
    _makers[entity.model_id] = str(entity.source_run_id or "")
    _changed(the_agent, client, entity.source_run_id, "models")


def _entity_changed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    uri, model_id = client.tracking_uri, call["model_id"]

    def runs() -> set[str]:
        return {*_runs_of_entity.get(f"models:/{model_id}", ()), *if_supported(lambda: [_maker(uri, model_id)])}

    _models_changed(the_agent, client, runs)


def metrics_logged(the_agent: Agent, client: Any, model_id: str, points: list[ModelPoint]) -> None:
    """Hand over points of a model, which belong to the run that made it, whichever run has logged them."""
    uri, workspace = f"models:/{model_id}", active()

    def post() -> None:
        if model_id not in _makers:
            with store_access(client.tracking_uri, workspace):
                (_makers[model_id],) = if_supported(lambda: [_maker(client.tracking_uri, model_id)]) or [""]
            # Another process may have made the model, and its run's Task is updated by this one from now on.
            _changed(the_agent, client, _makers[model_id], "models", linked=True, workspace=workspace)
        if run_id := _makers[model_id]:
            the_agent.post(ModelMetricsLogged(run_id, points, uri))

    if model_id in _makers:
        post()
    else:
        the_agent.post(post)


def batch_logged(the_agent: Agent, client: Any, metrics: Sequence[Any], points: Sequence[Point]) -> None:
    """Hand over those metrics of a batch that belong to a model: `points` are its metrics in the same order."""
    of_models: dict[str, list[ModelPoint]] = {}
    default = active_model()
    for metric, point in zip(metrics, points, strict=True):
        model_id = getattr(metric, "model_id", None) or default
        if model_id:
            data_set = (getattr(metric, name, None) or "" for name in ("dataset_name", "dataset_digest"))
            of_models.setdefault(str(model_id), []).append((*point, *data_set))  # type: ignore[arg-type]
    for model_id, of_model in of_models.items():
        metrics_logged(the_agent, client, model_id, of_model)


# The registry


def _version_made(the_agent: Agent, client: Any, _: dict[str, Any], version: Any) -> None:
    if mlflow_prompts.is_prompt(version):
        mlflow_prompts.registered(the_agent, client, version)
    _changed(the_agent, client, version.run_id, "models", linked=True)


def _name_read(the_agent: Agent, client: Any, call: dict[str, Any], model: Any) -> None:
    """Remember which versions have an alias or a stage: MLflow 3 reads them before it gives one to another version."""
    holders = {str(version) for version in (model.aliases or {}).values()}
    _holders[client.tracking_uri, call["name"]] = holders | {
        str(version.version) for version in model.latest_versions or ()
    }


def _version_tagged(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    mlflow_prompts.tagged(the_agent, client, call)
    _version_changed(the_agent, client, call, _)


def _prompt_linked(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    mlflow_prompts.linked(the_agent, client, call)
    _tag_set(the_agent, client, call["run_id"], LINKED)


def _version_changed(the_agent: Agent, client: Any, call: dict[str, Any], _: Any) -> None:
    """Note the run of the version, and those of versions that may have lost an alias or a stage to it.

    These are few. A call for the whole registered model changes all of its versions that are known here.
    """
    name, uri = call["name"], client.tracking_uri
    numbers = _holders.pop((uri, name), set()) | ({str(call["version"])} if "version" in call else set())
    is_whole = not {"version", "alias"} & call.keys()

    def runs() -> set[str]:
        known = _versions.get((uri, name), {})
        marked = {number for number, version in known.items() if version.is_marked or is_whole}
        return {
            run_id
            for number in sorted(numbers | marked)
            for run_id in ([known[number].run_id] if number in known else _run_of_version(uri, name, number))
        }

    _models_changed(the_agent, client, runs)


def _models_changed(the_agent: Agent, client: Any, runs: Callable[[], set[str]]) -> None:
    """Note the runs whose models have changed; the store is asked off the calling thread."""
    workspace = active()

    def note() -> None:
        found = set[str]()
        with store_access(client.tracking_uri, workspace), contextlib.suppress(StoreNotThereError):
            found = runs()
        for run_id in found:
            _changed(the_agent, client, run_id, "models", linked=True, workspace=workspace)

    the_agent.post(note)


def _maker(tracking_uri: str, model_id: str) -> str:
    """Return the run that made a model of MLflow 3, "" for none."""
    return str(internals.logged_model(tracking_client(tracking_uri), model_id).source_run_id or "")


def _run_of_version(tracking_uri: str, name: str, number: str) -> list[str]:
    """Return the run of a version, "" if it has none; nothing if the version is gone."""
    return if_supported(lambda: [str(registry_client(tracking_uri).get_model_version(name, number).run_id or "")])


TRACKING: dict[str, Any] = {
    "log_inputs": watched(_inputs_logged, "run_id", "datasets", "models"),
    "log_outputs": watched(_model_logged, "run_id", "models"),
    RECORD_LOGGED_MODEL: watched(_model_recorded, "run_id", "mlflow_model"),
    "create_logged_model": watched(_entity_made),
    "finalize_logged_model": watched(_entity_changed, "model_id", "status"),
    "log_model_params": watched(_entity_changed, "model_id", "params"),
    "set_logged_model_tags": watched(_entity_changed, "model_id", "tags"),
    "delete_logged_model_tag": watched(_entity_changed, "model_id", "key"),
    "delete_logged_model": watched(_entity_changed, "model_id"),
}
"""Methods of `TrackingServiceClient`; one that a version lacks is left out, here and below."""

_REGISTRY: dict[str, Any] = {
    "get_registered_model": watched(_name_read, "name"),
    "create_model_version": watched(_version_made),
    "copy_model_version": watched(_version_made),
    "update_model_version": watched(_version_changed, "name", "version", "description"),
    "transition_model_version_stage": watched(_version_changed, "name", "version", "stage"),
    "set_model_version_tag": watched(_version_tagged, "name", "version", "key", "value"),
    "delete_model_version_tag": watched(_version_changed, "name", "version", "key"),
    "set_registered_model_alias": watched(_version_changed, "name", "alias", "version"),
    "delete_registered_model_alias": watched(_version_changed, "name", "alias"),
    "delete_model_version": watched(_version_changed, "name", "version"),
    "rename_registered_model": watched(_version_changed, "name", "new_name"),
    "delete_registered_model": watched(_version_changed, "name"),
    "link_prompt_version_to_run": watched(_prompt_linked, "name", "version", "run_id"),
}
"""Methods of `ModelRegistryClient`."""


def instrument_registry(module: ModuleType) -> None:
    """Wrap `ModelRegistryClient` of `mlflow.tracking._model_registry.client`."""
    wrap_methods(module, REGISTRY_CLIENT, _REGISTRY)
    note_stores(module, REGISTRY_CLIENT)
