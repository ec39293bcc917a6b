"""How a model of MLflow must look in ClearML: pure functions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from autoinstrument.clearml_api import storable
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.mlflow_store.artifact_addresses import is_same_place
from autoinstrument.records import Model, parse
from autoinstrument.scrubber import hide_in_text

_PREFIX = "mlflow_"
_URI, _TAGS = f"{_PREFIX}model_uri", f"{_PREFIX}tags"
_COPIED, _NOT_COPIED = f"{_PREFIX}copied_revision", f"{_PREFIX}not_copied"
_PACKAGE = "package"
"""System tag of a model that is an archive, which ClearML's SDK extracts (clearml 1.16 to 2.1.12)."""
_DESCRIPTION = "MLmodel"

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
        tags=tags(given),
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


def tags(values: Mapping[str, str]) -> list[str]:
    """Return MLflow's tags as ClearML's, which have no values: `key=value`."""
    texts = (hide_in_text(f"{key}={value}" if value else key) for key, value in values.items())
    return sorted(storable.text(text) for text in texts)


def is_same(held: Mapping[str, Any], wanted: ModelFields) -> bool:
    """Return True if a model on the server is the wanted one."""
    uri = _items(held).get(_URI)
    return uri == wanted.metadata[_URI] if uri else held.get("uri") == wanted.uri


def is_left_alone(held: Mapping[str, Any], model: Model) -> bool:
    """Return True if the server's model has versions, and MLflow's registry was not asked for them now."""
    return model["versions"] is None and f"{_PREFIX}version" in _items(held)


def edits(held: Mapping[str, Any], wanted: ModelFields) -> dict[str, Any]:
    """Return the fields of a model that differ from the wanted ones; tags that people gave it in ClearML stay."""
    try:
        before = tags(parse(_items(held).get(_TAGS, "{}")))
    except (AttributeError, ValueError):  # a person has edited it
        before = []
    own = [tag for tag in held.get("tags") or [] if tag not in before]
    others = [tag for tag in held.get("system_tags") or [] if tag != _PACKAGE]
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
    """Return a model's metadata: its place in MLflow, and its versions, numbered from the second one on."""
    items = {
        _URI: model["uri"],
        f"{_PREFIX}run_id": run_id,
        f"{_PREFIX}flavors": ", ".join(model["flavors"]),
        _TAGS: json.dumps(given, sort_keys=True) if given else "",
    }
    for number, version in enumerate(model["versions"] or (), 1):
        suffix = f"_{number}" if number > 1 else ""
        items |= {
            f"{_PREFIX}registered_model{suffix}": version["name"],
            f"{_PREFIX}version{suffix}": version["version"],
            f"{_PREFIX}stage{suffix}": version["stage"],
            f"{_PREFIX}aliases{suffix}": ", ".join(version["aliases"]),
            f"{_PREFIX}description{suffix}": version["description"],
        }
    return {key: storable.text(hide_in_text(value)) for key, value in items.items() if value}


def _items(held: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a server's model, values by name."""
    return {key: str(item.get("value", "")) for key, item in (held.get("metadata") or {}).items()}
