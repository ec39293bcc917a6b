"""What a model of MLflow looks like in ClearML: pure functions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from autoinstrument.clearml_api import storable
from autoinstrument.mirror.mapping.names import acceptable
from autoinstrument.records import Model, parse
from autoinstrument.scrubber import hide_in_text

_OURS = "mlflow_"
_URI, _TAGS = f"{_OURS}model_uri", f"{_OURS}tags"
_COPIED, _NOT_COPIED = f"{_OURS}copied_revision", f"{_OURS}not_copied"
_PACKAGE = "package"
"""System tag by which ClearML's SDK knows a model that is an archive, to be extracted (clearml 1.16 to 2.1.12)."""
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
"""The names of ClearML's SDK (`clearml.model.Framework`), which its web pages know; others go under MLflow's own."""
_NO_FRAMEWORK = "Custom"
"""The SDK's word for a model of no framework that it knows."""


class ModelFields(NamedTuple):
    """What is to be true of a ClearML model.

    Attributes:
        metadata: its items by name, all beginning with `mlflow_`; items of other names are somebody else's.
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
    """Where it is, "" where there is none."""
    problem: str = ""
    """Why there is none, though there should be one."""


NO_COPY = Copy()


def wanted(model: Model, run_id: str, copy: Copy = NO_COPY) -> ModelFields:
    """Return what a model must look like."""
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
    """Return where MLflow keeps a model, for a browser and for ClearML's client.

    Over HTTP that is its `MLmodel` file: a server answers for files alone (400 for a folder; mlflow 3.12 to 3.17), and
    ClearML's client fetches single files. It takes a folder of this machine as it is, and lists one of an object store.
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
    """Return ClearML's name of the framework for a model with these flavours; each but its own is a wrapping of it."""
    own = sorted(set(flavors) - {"python_function"}, key=lambda flavor: (flavor not in _FRAMEWORKS, flavor))
    return _FRAMEWORKS.get(own[0], own[0]) if own else _NO_FRAMEWORK


def tags(values: Mapping[str, str]) -> list[str]:
    """Return MLflow's tags, which have values, as ClearML's, which have none."""
    texts = (hide_in_text(f"{key}={value}" if value else key) for key, value in values.items())
    return sorted(storable.text(text) for text in texts)


def is_same(held: Mapping[str, Any], wanted: ModelFields) -> bool:
    """Tell whether a model that the server has is the one that is wanted."""
    uri = _items(held).get(_URI)
    return uri == wanted.metadata[_URI] if uri else held.get("uri") == wanted.uri


def is_left_alone(held: Mapping[str, Any], model: Model) -> bool:
    """Tell whether the server knows versions of a model and nothing new is known of them."""
    return model["versions"] is None and f"{_OURS}version" in _items(held)


def edits(held: Mapping[str, Any], wanted: ModelFields) -> dict[str, Any]:
    """Return the fields of a model that are other than wanted; tags that people gave it in ClearML stay."""
    try:
        before = tags(parse(_items(held).get(_TAGS, "{}")))
    except (AttributeError, ValueError):  # somebody has edited it
        before = []
    own = [tag for tag in held.get("tags") or [] if tag not in before]
    others = [tag for tag in held.get("system_tags") or [] if tag != _PACKAGE]
    fields = {
        **wanted._asdict(),
        "tags": sorted({*own, *wanted.tags}),
        "system_tags": sorted({*others, *wanted.system_tags}),
    }
    del fields["metadata"]
    return {name: value for name, value in fields.items() if (held.get(name) or type(value)()) != value}


def new_metadata(held: Mapping[str, Any], wanted: ModelFields) -> list[dict[str, str]]:
    """Return all metadata of a model, nothing where it has what is wanted; items that are not ours stay."""
    items: dict[str, dict[str, str]] = held.get("metadata") or {}
    if {key: value for key, value in _items(held).items() if key.startswith(_OURS)} == wanted.metadata:
        return []
    others = [item for key, item in items.items() if not key.startswith(_OURS)]
    return [*others, *({"key": key, "type": "str", "value": value} for key, value in wanted.metadata.items())]


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, or the name with a number where it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def _metadata(model: Model, run_id: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return a model's metadata: where it is in MLflow, and its versions; from the second on they are numbered."""
    items = {
        _URI: model["uri"],
        f"{_OURS}run_id": run_id,
        f"{_OURS}flavors": ", ".join(model["flavors"]),
        _TAGS: json.dumps(given, sort_keys=True) if given else "",
    }
    for number, version in enumerate(model["versions"] or (), 1):
        suffix = f"_{number}" if number > 1 else ""
        items |= {
            f"{_OURS}registered_model{suffix}": version["name"],
            f"{_OURS}version{suffix}": version["version"],
            f"{_OURS}stage{suffix}": version["stage"],
            f"{_OURS}aliases{suffix}": ", ".join(version["aliases"]),
            f"{_OURS}description{suffix}": version["description"],
        }
    return {key: storable.text(hide_in_text(value)) for key, value in items.items() if value}


def _items(held: Mapping[str, Any]) -> dict[str, str]:
    """Return a model's metadata as the server gives it, values by name."""
    return {key: str(item.get("value", "")) for key, item in (held.get("metadata") or {}).items()}
