"""Read the models that a run has read: those that MLflow notes, and those that the agent has seen.

MLflow 3 notes a model that a run evaluates, or logs metrics of, among the run's inputs. It notes no `load_model`, and
MLflow 2 notes nothing. A model's files identify it: the file `MLmodel` of a logged model has the id of the
model (MLflow 3), or of the run that logged it (MLflow 2), under which address it may be read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from autoinstrument.mlflow_store.artifact_addresses import openable
from autoinstrument.mlflow_store.models import flavors_of
from autoinstrument.mlflow_store.store_access import store_access
from autoinstrument.mlflow_store.store_errors import StoreNotThereError, if_supported
from autoinstrument.mlflow_store.stores import StoreClient
from autoinstrument.mlflow_store.urls import absolute, is_path
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import InputModel, ModelsRead
from autoinstrument.scrubber import without_credentials

DESCRIPTION = "MLmodel"
MOST_MODELS = 1000
"""Models that one run has as inputs."""
# Patterns are compiled when the first model is read: most scripts read none.
_FIELD = r"^(model_id|run_id|artifact_path): *(.*?) *$"
_FLAVORS, _FLAVOR = r"^flavors:\n((?:[ ].*\n?)*)", r"^  ([^\s:]+):"
_VERSION = r"models:/+([^/@]+)(?:/(\d+)|@([^/]+))$"
_MOST_KEPT = 1000
_known: dict[tuple[str, str], InputModel] = {}
"""Models by tracking URI and their own URI. What is kept of them does not change."""


class SeenModel(NamedTuple):
    """The content of the file `MLmodel` of a model that was read.

    Attributes:
        address: the address by which it was read, without credentials.
        model_id: MLflow 3's id of it, "" for a model of MLflow 2, or one that was only saved.
        run_id: the run that logged it, "" for a model that was only saved.
        path: its path below the artifact root of that run.
        flavors: its flavours.
    """

    address: str
    model_id: str
    run_id: str
    path: str
    flavors: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """False for a folder of this machine that was never logged: a script may have saved it a moment before."""
        return bool(self.model_id or self.run_id) or not (is_path(self.address) or self.address.startswith("file:"))

    @property
    def uri(self) -> str:
        """Its URI as `mlflow_store.models` has it, "" for a model that was only saved."""
        if self.model_id:
            return f"models:/{self.model_id}"
        return f"runs:/{self.run_id}/{self.path}" if self.run_id else ""


def seen_model(address: str, description: str) -> SeenModel:
    """Return what the text of a file `MLmodel`, or the beginning of it, says. It is YAML as MLflow writes it."""
    fields = {name: value.strip("'\"") for name, value in re.findall(_FIELD, description, re.M)}
    flavors = re.search(_FLAVORS, description, re.M)
    return SeenModel(
        without_credentials(address),
        fields.get("model_id", "").replace("null", ""),
        fields.get("run_id", "").replace("null", ""),
        fields.get("artifact_path", ""),
        tuple(sorted(re.findall(_FLAVOR, flavors[1], re.M))) if flavors else (),
    )


def read_input_models(client: StoreClient, run: Any, seen: Collection[SeenModel] = ()) -> ModelsRead:
    """Return the models that a run (`mlflow.entities.Run`) has read, without those that it has made itself.

    Args:
        client: the clients of the run's store. It is asked once for each model, and only if there are any.
        run: the run.
        seen: models that it was seen to read, beside those that MLflow notes.

    Raises:
        mlflow.exceptions.MlflowException: the store does not answer.
    """
    run_id = run.info.run_id
    outputs, inputs = getattr(run, "outputs", None), getattr(run, "inputs", None)
    made = {f"models:/{output.model_id}" for output in (outputs.model_outputs if outputs else ())}
    noted = [each.model_id for each in (getattr(inputs, "model_inputs", None) or ())]
    found: dict[str, InputModel] = {}
    for model in _all(client, dict.fromkeys(noted), dict.fromkeys(seen)):
        if model["source_run"] != run_id and model["uri"] not in made and len(found) < MOST_MODELS:
            found.setdefault(model["uri"], model)
    return ModelsRead(run_id, list(found.values()))


def as_seen(run_id: str, seen: Iterable[SeenModel]) -> list[InputModel]:
    """Return what is known of the models that a run was seen to read, if MLflow cannot be asked."""
    return [_as_seen(each) for each in seen if each.uri and each.run_id != run_id]


def _all(client: StoreClient, noted: Collection[str], seen: Collection[SeenModel]) -> Iterator[InputModel]:
    for each in seen:
        if each.model_id:
            yield _entity(client, each.model_id, each)
        elif each.run_id:
            yield _of_run(client, each)
        else:
            yield _saved(client, each)
    for model_id in noted:
        yield _entity(client, model_id, None)


def _entity(client: StoreClient, model_id: str, seen: SeenModel | None) -> InputModel:
    """Return a model of MLflow 3; one that the store does not have, as it was seen."""
    uri = f"models:/{model_id}"
    if known := _known.get((client.tracking_uri, uri)):
        return known
    entity: Any = None
    if hasattr(client.tracking, "get_logged_model"):  # MLflow 3
        with store_access(client.tracking_uri, client.workspace):
            entity = next(iter(if_supported(lambda: [client.tracking.get_logged_model(model_id)])), None)
    if entity is None:
        return _as_seen(seen) if seen else _model(uri, model_id, uri)
    location = openable(entity.artifact_location, client.tracking_uri)
    flavors = list(seen.flavors) if seen else flavors_of(client, entity)
    return _keep(client, _model(uri, entity.name, location, flavors, entity.source_run_id or ""))


def _of_run(client: StoreClient, seen: SeenModel) -> InputModel:
    """Return a model of MLflow 2, which is a folder of a run; one of a run that the store does not have, as seen."""
    uri = seen.uri
    if known := _known.get((client.tracking_uri, uri)):
        return known
    with store_access(client.tracking_uri, client.workspace):
        run = next(iter(if_supported(lambda: [client.tracking.get_run(seen.run_id)])), None)
    if run is None:
        return _as_seen(seen)
    location = openable(run.info.artifact_uri, client.tracking_uri, seen.path)
    return _keep(client, _model(uri, seen.path, location, list(seen.flavors), seen.run_id))


def _saved(client: StoreClient, seen: SeenModel) -> InputModel:
    """Return a model that was only saved; a version in the registry names its place, and perhaps a run."""
    match = re.match(_VERSION, seen.address)
    version: Any = None
    if match:
        try:
            with store_access(client.tracking_uri, client.workspace):
                version = next(iter(if_supported(lambda: [_version(client, *match.groups())])), None)
        except StoreNotThereError:
            pass
    if version is None:
        return _as_seen(seen)
    location = openable(version.source or "", client.tracking_uri)
    return _model(location, version.name, location, list(seen.flavors), version.run_id or "")


def _version(client: StoreClient, name: str, version: str | None, alias: str | None) -> Any:
    registry = client.registry()
    return registry.get_model_version(name, version) if version else registry.get_model_version_by_alias(name, alias)


def _as_seen(seen: SeenModel) -> InputModel:
    location = openable(absolute(seen.address), "")
    name = posixpath.basename(location.rstrip("/")) or location
    return _model(seen.uri or location, name, location, list(seen.flavors), seen.run_id)


def _model(uri: str, name: str, location: str, flavors: list[str] | None = None, source_run: str = "") -> InputModel:
    return InputModel(uri=uri, name=name, location=location, flavors=flavors or [], source_run=source_run)


def _keep(client: StoreClient, model: InputModel) -> InputModel:
    if len(_known) < _MOST_KEPT:
        _known[client.tracking_uri, model["uri"]] = model
    return model
