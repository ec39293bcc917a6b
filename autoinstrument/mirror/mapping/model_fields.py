"""Map a model of MLflow to the fields of a model in ClearML: pure functions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.models import ARCHIVED
from autoinstrument.mirror.mapping.model_versions import item_names, items_of, registry_tags, tag_texts, versions_in
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.mlflow_store.artifact_addresses import is_same_place
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import Model, ModelsLogged, parse
from autoinstrument.scrubber import hide_in_text, hide_named

_PREFIX = "mlflow_"
_URI, _TAGS = f"{_PREFIX}model_uri", f"{_PREFIX}tags"
_RUN, _STATUS, _PARAM = f"{_PREFIX}run_id", f"{_PREFIX}status", f"{_PREFIX}param_"
_COPIED, _NOT_COPIED = f"{_PREFIX}copied_revision", f"{_PREFIX}not_copied"
_PACKAGE = "package"
"""System tag of a model that is an archive, which ClearML's SDK extracts (clearml 1.16 to 2.1.12)."""
_DESCRIPTION = "MLmodel"
_DELETED = "DELETED"
_MOST_PARAMS = 1000

_FRAMEWORKS = {
    "sklearn": "ScikitLearn",
    "pytorch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "onnx": "ONNX",
    "paddle": "PaddlePaddle",
    "mxnet": "MXNet",
    "gluon": "MXNet",
}
"""Names in ClearML's SDK (`clearml.model.Framework`), which its web pages know; other frameworks keep MLflow's name."""
_NO_FRAMEWORK = "Custom"
"""The SDK's word for a model of an unknown framework."""


class ModelFields(NamedTuple):
    """The fields that a ClearML model must have.

    Attributes:
        metadata: values by name, all names beginning with `mlflow_`; items with other names belong to other people.
    """

    name: str
    uri: str
    framework: str
    tags: list[str]
    system_tags: list[str]
    metadata: dict[str, str]


class Copy(NamedTuple):
    """A model's copy in ClearML's storage."""

    address: str = ""
    """Its address, "" if there is none."""
    problem: str = ""
    """Why there is none, although one is wanted."""


NO_COPY = Copy()


def wanted(model: Model, run_id: str, copy: Copy = NO_COPY) -> ModelFields:
    """Return how a model must look."""
    given = dict(model["tags"])
    for version in model["versions"] or ():
        given.update(version["tags"])
    metadata = _metadata(model, run_id, given)
    if copy.address:
        metadata[_COPIED] = model["revision"]
    elif copy.problem:
        metadata[_NOT_COPIED] = hide_in_text(copy.problem)
    return ModelFields(
        name=acceptable(model["name"]),
        uri=copy.address or storable.text(address(model)),
        framework=framework(model["flavors"]),
        tags=sorted({*tag_texts(given), *registry_tags(model["versions"] or ())}),
        system_tags=[_PACKAGE] if copy.address else [],
        metadata=metadata,
    )


def address(model: Model) -> str:
    """Return the address of a model in MLflow, for a browser and for ClearML's client.

    Over HTTP this is its `MLmodel` file: a server answers only for files (400 for a folder; mlflow 3.12 to 3.17), and
    ClearML's client fetches single files. The client takes a local folder as it is, and lists one in an object store.
    """
    is_served = model["location"].startswith(("http://", "https://")) and model["flavors"]
    return f"{model['location']}/{_DESCRIPTION}" if is_served else model["location"]


def copy_of(held: Mapping[str, Any], model: Model) -> Copy:
    """Return the copy of a model's present files that the server has, or why it has none."""
    items = _items(held)
    if model["revision"] and items.get(_COPIED) == model["revision"]:
        return Copy(str(held.get("uri") or ""))
    return Copy(problem=items.get(_NOT_COPIED, ""))


def framework(flavors: Collection[str]) -> str:
    """Return ClearML's name of the framework for a model with these flavours; `python_function` only wraps it."""
    own = sorted(set(flavors) - {"python_function"}, key=lambda flavor: (flavor not in _FRAMEWORKS, flavor))
    return _FRAMEWORKS.get(own[0], own[0]) if own else _NO_FRAMEWORK


def is_same(held: Mapping[str, Any], wanted: ModelFields) -> bool:
    """Return True if a model on the server is the wanted one."""
    uri = _items(held).get(_URI)
    return uri == wanted.metadata[_URI] if uri else held.get("uri") == wanted.uri


def is_left_alone(held: Mapping[str, Any], model: Model) -> bool:
    """Return True if the server's model has versions, and MLflow's registry was not asked for them now."""
    return model["versions"] is None and f"{_PREFIX}version" in _items(held)


def is_gone(held: Mapping[str, Any], logged: ModelsLogged) -> bool:
    """Return True if MLflow has deleted a model that the server has: this run's, and not among those that it has now.

    False if that is not known, because MLflow could not be asked for models of this kind.
    """
    items = _items(held)
    uri = items.get(_URI, "")
    if not uri or items.get(_RUN) != logged.run_id or any(model["uri"] == uri for model in logged.models):
        return False
    return uri.startswith("runs:/") or (logged.has_entities if uri.startswith("models:/") else logged.has_registry)


def deleted(held: Mapping[str, Any]) -> ModelFields:
    """Return how a model must look that MLflow has deleted: archived, without the tags of versions."""
    items = {key: value for key, value in _items(held).items() if key.startswith(_PREFIX)}
    of_versions = {*item_names(items)}
    return ModelFields(
        name=str(held.get("name") or ""),
        uri=str(held.get("uri") or ""),
        framework=str(held.get("framework") or ""),
        tags=tag_texts(_tags_of(items)),
        system_tags=[ARCHIVED, *(tag for tag in held.get("system_tags") or () if tag == _PACKAGE)],
        metadata={**{key: value for key, value in items.items() if key not in of_versions}, _STATUS: _DELETED},
    )


def lacks_details(held: Mapping[str, Any], model: Model) -> bool:
    """Return True if the server's model was made by a version that mirrored no status, parameters and metrics."""
    return bool(model["status"]) and _STATUS not in _items(held)


def edits(held: Mapping[str, Any], wanted: ModelFields) -> dict[str, Any]:
    """Return the fields of a model that differ from the wanted ones; tags that people gave it in ClearML stay."""
    items = _items(held)
    tags = _tags_of(items)
    # Older versions did not hide values with a secret's name.
    as_given = {f"{key}={value}" for key, value in tags.items()}
    before = {*as_given, *tag_texts(tags), *registry_tags(versions_in(items))}
    own = [tag for tag in held.get("tags") or [] if tag not in before]
    given = {_PACKAGE, *([ARCHIVED] if items.get(_STATUS) == _DELETED else [])}
    others = [tag for tag in held.get("system_tags") or [] if tag not in given]
    fields = {
        **wanted._asdict(),
        "tags": sorted({*own, *wanted.tags}),
        "system_tags": sorted({*others, *wanted.system_tags}),
    }
    del fields["metadata"]
    if is_same_place(str(held.get("uri")), wanted.uri):
        del fields["uri"]
    return {name: value for name, value in fields.items() if (held.get(name) or type(value)()) != value}


def new_metadata(held: Mapping[str, Any], wanted: ModelFields) -> list[dict[str, str]]:
    """Return the whole new metadata of a model, nothing if it is as wanted; other people's items stay."""
    items: dict[str, dict[str, str]] = held.get("metadata") or {}
    if {key: value for key, value in _items(held).items() if key.startswith(_PREFIX)} == wanted.metadata:
        return []
    others = [item for key, item in items.items() if not key.startswith(_PREFIX)]
    return [*others, *({"key": key, "type": "str", "value": value} for key, value in wanted.metadata.items())]


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def _metadata(model: Model, run_id: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return a model's metadata: its place in MLflow, what it is, its parameters and its versions."""
    tags = {key: hide_named(key, value) for key, value in given.items()}
    items = {
        _URI: model["uri"],
        _RUN: run_id,
        f"{_PREFIX}source_run_id": model["source_run"] if model["source_run"] != run_id else "",
        _STATUS: model["status"],
        f"{_PREFIX}model_type": model["kind"],
        f"{_PREFIX}flavors": ", ".join(model["flavors"]),
        _TAGS: json.dumps(tags, sort_keys=True) if tags else "",
    }
    items |= items_of(model["versions"] or ())
    params = list(model["params"].items())
    if len(params) > _MOST_PARAMS:
        items[f"{_PREFIX}params_left_out"] = str(len(params) - _MOST_PARAMS)
    named = {f"{_PARAM}{storable.name(key)}": hide_named(key, value) for key, value in params[:_MOST_PARAMS]}
    kept = {key: value for key, value in items.items() if value} | named
    return {key: storable.text(hide_in_text(value)) for key, value in kept.items()}


def _tags_of(items: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that MLflow gave a model, by its metadata."""
    try:
        return {str(key): str(value) for key, value in parse(items.get(_TAGS, "{}")).items()}
    except (AttributeError, ValueError):  # a person has edited it
        return {}


def _items(held: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a server's model, values by name."""
    return {key: str(item.get("value", "")) for key, item in (held.get("metadata") or {}).items()}
