"""Read the models of a run, and their versions in the registry, from an MLflow store.

MLflow 3 keeps each model as an entity (`models:/m-…`), MLflow 2 as a folder of the run's artifacts that the tag
`mlflow.log-model.history` names. A version belongs to the model that its source names. A version that names the run,
but has another source, is a model as well.
"""

from __future__ import annotations

import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoinstrument.mlflow_store import internals
from autoinstrument.mlflow_store.artifact_addresses import openable
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import StoreNotThereError, if_supported
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.records import Model, ModelsLogged, Version

HISTORY = "mlflow.log-model.history"
_IS_PROMPT = "mlflow.prompt.is_prompt"
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
    models = {model["uri"]: model for model in [*_of_history(run, tracking_uri), *_entities(client, run)]}
    places = {model["location"]: model for model in models.values()}
    of_version: dict[str, Model] = {}
    versions = _versions(client, run.info.run_id)
    for model in models.values():
        model["versions"] = None if versions is None else []
    for version in versions or ():
        source = version.source or ""
        location = openable(source, tracking_uri)
        found = models.get(source) or of_version.get(source) or places.get(location)
        if found is None:
            found = models[location] = places[location] = _model(location, version.name, location)
        of_version[f"models:/{version.name}/{version.version}"] = found
        found["versions"] = [*(found["versions"] or ()), _version(version)]
    return ModelsLogged(run.info.run_id, list(models.values()))


def _model(
    uri: str,
    name: str,
    location: str,
    revision: str = "",
    flavors: list[str] | None = None,
    tags: dict[str, str] | None = None,
) -> Model:
    return Model(
        uri=uri, name=name, location=location, revision=revision, flavors=flavors or [], tags=_own(tags or {}),
        versions=[],
    )  # fmt: skip


def _of_history(run: Any, tracking_uri: str) -> Iterator[Model]:
    """Yield the models of MLflow 2; a later one at the same path has replaced the earlier one."""
    for entry in json.loads(run.data.tags.get(HISTORY) or "[]"):
        path = entry["artifact_path"]
        location = openable(run.info.artifact_uri, tracking_uri, path)
        revision = str(entry.get("model_uuid") or entry.get("utc_time_created") or "")
        yield _model(f"runs:/{run.info.run_id}/{path}", path, location, revision, sorted(entry.get("flavors") or {}))


def _entities(client: StoreClient, run: Any) -> Iterator[Model]:
    """Yield the complete models of MLflow 3."""
    if not hasattr(client.tracking, "search_logged_models"):
        return
    with store_access(client.tracking_uri, client.workspace):
        found = if_supported(lambda: _all_entities(client, run))
    for entity in sorted(found, key=lambda entity: (entity.creation_timestamp, entity.model_id)):
        if str(entity.status) == "READY":
            location = openable(entity.artifact_location, client.tracking_uri)
            uri, flavors = f"models:/{entity.model_id}", _flavors_of(client, entity)
            yield _model(uri, entity.name, location, entity.model_id, flavors, entity.tags)


def _all_entities(client: StoreClient, run: Any) -> list[Any]:
    """Return the models that the run created, and those that it logged and other runs created."""
    of_run = f"source_run_id = '{run.info.run_id}'"
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.tracking.search_logged_models([run.info.experiment_id], filter_string=of_run, page_token=token)
        found.update((entity.model_id, entity) for entity in page)
        token = page.token
        if not token:
            break
    outputs = getattr(run, "outputs", None)
    for output in outputs.model_outputs if outputs else ():
        if output.model_id not in found:
            found[output.model_id] = client.tracking.get_logged_model(output.model_id)
    return list(found.values())


def _flavors_of(client: StoreClient, entity: Any) -> list[str]:
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
        found: list[Any] = []
        token = None
        while True:
            page = registry.search_model_versions(f"run_id = '{run_id}'", page_token=token)
            # A search returns no aliases (mlflow 2.16 to 3.17).
            found += [registry.get_model_version(version.name, version.version) for version in page]
            token = page.token
            if not token:
                return found

    try:
        with store_access(client.tracking_uri, client.workspace):
            versions = if_supported(search)
    except StoreNotThereError:
        return None
    models = [version for version in versions if _IS_PROMPT not in version.tags]
    return sorted(models, key=lambda version: (version.creation_timestamp, version.name, int(version.version)))


def _version(version: Any) -> Version:
    stage = version.current_stage or ""
    return Version(
        name=version.name,
        version=str(version.version),
        stage="" if stage == "None" else stage,
        aliases=sorted(version.aliases or []),
        tags=_own(version.tags),
        description=version.description or "",
    )


def _own(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags without those that MLflow sets for itself."""
    return {key: str(value) for key, value in sorted(tags.items()) if not key.startswith("mlflow.")}
