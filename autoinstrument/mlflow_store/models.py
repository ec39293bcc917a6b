"""Read the models of a run, and their versions in the registry, from an MLflow store.

MLflow 3 keeps each model as an entity (`models:/m-…`), MLflow 2 as a folder of the run's artifacts that the tag
`mlflow.log-model.history` names. A version belongs to the model that its source names. A version that names the run,
but has another source, is a model as well.
"""

from __future__ import annotations

import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.artifact_addresses import openable
from autoinstrument.mlflow_store.found_run import LOGGED_MODELS, VERSIONS
from autoinstrument.mlflow_store.prompts import IS_PROMPT
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import StoreNotThereError, if_supported
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.records import Model, ModelPoint, ModelsLogged, Version

HISTORY = "mlflow.log-model.history"
_MOST_KEPT = 1000
_MOST_BYTES = 4 * 2**20
"""Bytes that are read of an `MLmodel` file, which has some kB; yaml takes seconds for one MB."""
_flavors: OrderedDict[str, list[str]] = OrderedDict()
"""Flavours of complete models, by model id. They never change, and reading them downloads a file."""


def read_models(client: StoreClient, run: Any) -> ModelsLogged:
    """Return all models of a run (`mlflow.entities.Run`), the oldest first.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    tracking_uri = client.tracking_uri
    entities = _entities(client, run)
    models = {model["uri"]: model for model in [*_of_history(run, tracking_uri), *(entities or ())]}
    places = {model["location"]: model for model in models.values()}
    of_version: dict[str, Model] = {}
    versions = [] if VERSIONS in client.lacks else _versions(client, run.info.run_id)
    for model in models.values():
        model["versions"] = None if versions is None else []
    for version in versions or ():
        source = version.source or ""
        location = openable(source, tracking_uri)
        found = models.get(source) or of_version.get(source) or places.get(location)
        if found is None:
            found = models[location] = places[location] = _model(location, version.name, location)
        of_version[f"models:/{version.name}/{version.version}"] = found
        found["versions"] = [*(found["versions"] or ()), as_version(version, version.aliases or ())]
    return ModelsLogged(run.info.run_id, list(models.values()), entities is not None, versions is not None)


def _model(uri: str, name: str, location: str, revision: str = "", flavors: list[str] | None = None) -> Model:
    return Model(
        uri=uri, name=name, location=location, revision=revision, flavors=flavors or [], tags={}, versions=[],
        status="", kind="", source_run="", params={}, points=[],
    )  # fmt: skip


def _of_history(run: Any, tracking_uri: str) -> Iterator[Model]:
    """Yield the models of MLflow 2; a later one at the same path has replaced the earlier one."""
    for entry in json.loads(run.data.tags.get(HISTORY) or "[]"):
        path = entry["artifact_path"]
        location = openable(run.info.artifact_uri, tracking_uri, path)
        revision = str(entry.get("model_uuid") or entry.get("utc_time_created") or "")
        yield _model(f"runs:/{run.info.run_id}/{path}", path, location, revision, sorted(entry.get("flavors") or {}))


def _entities(client: StoreClient, run: Any) -> list[Model] | None:
    """Return the models of MLflow 3, None if they cannot be asked for."""
    if not hasattr(client.tracking, "search_logged_models"):
        return None
    with store_access(client.tracking_uri, client.workspace):
        found = if_supported(lambda: [_all_entities(client, run)])
    if not found:
        return None
    return [
        _entity(client, each) for each in sorted(found[0], key=lambda each: (each.creation_timestamp, each.model_id))
    ]


def _entity(client: StoreClient, entity: Any) -> Model:
    """Return a model of MLflow 3; the files of one that is not ready may be incomplete, and are left alone."""
    is_ready = str(entity.status) == "READY"
    return Model(
        uri=f"models:/{entity.model_id}",
        name=entity.name,
        location=openable(entity.artifact_location, client.tracking_uri),
        revision=entity.model_id if is_ready else "",
        flavors=flavors_of(client, entity) if is_ready else [],
        tags=_own(entity.tags or {}),
        versions=[],
        status=str(entity.status),
        kind=entity.model_type or "",
        source_run=entity.source_run_id or "",
        params={key: str(value) for key, value in sorted((entity.params or {}).items())},
        points=[_point(metric) for metric in entity.metrics or ()],
    )


def _point(metric: Any) -> ModelPoint:
    data_set = metric.dataset_name or "", metric.dataset_digest or ""
    return metric.key, float(metric.value), int(metric.timestamp), int(metric.step or 0), *data_set


def _all_entities(client: StoreClient, run: Any) -> list[Any]:
    """Return the models that the run created, and those that it logged and other runs created."""
    of_run = f"source_run_id = '{run.info.run_id}'"
    found: dict[str, Any] = {}
    token = None
    while LOGGED_MODELS not in client.lacks:
        page = client.tracking.search_logged_models([run.info.experiment_id], filter_string=of_run, page_token=token)
        found.update((entity.model_id, entity) for entity in page)
        token = page.token
        if not token:
            break
    outputs = getattr(run, "outputs", None)
    for output in outputs.model_outputs if outputs else ():
        if output.model_id not in found and (entity := _existing(client, output.model_id)):
            found[output.model_id] = entity
    return list(found.values())


def _existing(client: StoreClient, model_id: str) -> Any:
    """Return a model that another run may have made, None if it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return client.tracking.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def flavors_of(client: StoreClient, entity: Any) -> list[str]:
    """Return the flavours in the model's `MLmodel` file, none for a model that is kept outside MLflow."""
    model_id = entity.model_id
    if model_id not in _flavors:
        flavors = _read_flavors(client, model_id)
        if not flavors:
            return []
        _flavors[model_id] = flavors
        if len(_flavors) > _MOST_KEPT:
            _flavors.popitem(last=False)
    return _flavors[model_id]


def _read_flavors(client: StoreClient, model_id: str) -> list[str]:
    import yaml  # loaded by MLflow

    with tempfile.TemporaryDirectory(prefix="autoinstrument-") as folder:
        path = Path(folder) / "MLmodel"
        try:
            internals.download(internals.model_artifacts(client.tracking, model_id), "MLmodel", path)
            with path.open("rb") as file:
                return sorted(yaml.safe_load(file.read(_MOST_BYTES))["flavors"])
        except Exception:  # each artifact store raises its own exceptions, and a model may lack the file
            return []


def _versions(client: StoreClient, run_id: str) -> list[Any] | None:
    """Return the versions in the registry that name the run, the oldest first, with their aliases.

    Returns None if there is no registry, or the training has not opened it.
    """

    def search() -> list[Any]:
        registry = client.registry()
        # A search returns no aliases (mlflow 2.16 to 3.17).
        return [
            registry.get_model_version(version.name, version.version)
            for version in found_versions(registry, f"run_id = '{run_id}'")
        ]

    try:
        with store_access(client.tracking_uri, client.workspace):
            versions = if_supported(search)
    except StoreNotThereError:
        return None
    return sorted(without_prompts(versions), key=lambda each: (each.creation_timestamp, each.name, int(each.version)))


def found_versions(registry: Any, wanted: str) -> Iterator[Any]:
    """Yield the versions of registered models that a filter wants, without their aliases, page by page."""
    token = None
    while True:
        page = registry.search_model_versions(wanted, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def without_prompts(versions: Iterable[Any]) -> list[Any]:
    """Return the versions that are models: MLflow keeps prompts in the registry, too."""
    return [version for version in versions if IS_PROMPT not in version.tags]


def as_version(version: Any, aliases: Iterable[str]) -> Version:
    """Return a version of MLflow's, with aliases that a search does not return."""
    stage = version.current_stage or ""
    return Version(
        name=version.name,
        version=str(version.version),
        stage="" if stage == "None" else stage,
        aliases=sorted(aliases),
        tags=_own(version.tags),
        description=version.description or "",
    )


def _own(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags without those that MLflow sets for itself."""
    return {key: str(value) for key, value in sorted(tags.items()) if not key.startswith("mlflow.")}
