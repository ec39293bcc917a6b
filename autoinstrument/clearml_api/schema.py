"""Shapes of the parts of Tasks and models that are read here (API 2.34); every response is checked against them.

The server keeps hyperparameters, configuration objects and metadata as it was given them, so that their items may hold
anything.
"""

from __future__ import annotations

from typing import Any, TypedDict

from autoinstrument.json_shape import mismatch

_Items = dict[str, dict[str, Any]]


class _Script(TypedDict, total=False):
    entry_point: str


class _Output(TypedDict, total=False):
    destination: str


class _LastValue(TypedDict, total=False):
    metric: str
    variant: str
    count: int


class _Artifact(TypedDict, total=False):
    key: str
    mode: str
    uri: str
    hash: str
    display_data: list[list[Any]]
    """Pairs; the values may be numbers (API 2.34)."""


class _Execution(TypedDict, total=False):
    artifacts: list[_Artifact]


class _LinkedModel(TypedDict, total=False):
    name: str
    model: str


class _LinkedModels(TypedDict, total=False):
    input: list[_LinkedModel]
    output: list[_LinkedModel]


class _Identified(TypedDict):
    id: str


class TaskShape(_Identified, total=False):
    """A Task in a response of the server."""

    name: str
    comment: str
    parent: str
    project: str
    status: str
    status_reason: str
    status_message: str
    system_tags: list[str]
    script: _Script
    output: _Output
    hyperparams: dict[str, _Items]
    runtime: dict[str, Any]
    configuration: _Items
    last_metrics: dict[str, dict[str, _LastValue]]
    execution: _Execution
    models: _LinkedModels


class ModelShape(_Identified, total=False):
    """A model in a response of the server."""

    name: str
    uri: str
    framework: str
    tags: list[str]
    system_tags: list[str]
    metadata: _Items
    ready: bool
    last_metrics: dict[str, dict[str, _LastValue]]


def task(value: Any) -> dict[str, Any]:
    """Return a Task of a response, unchanged.

    Raises:
        ValueError: it does not have the shape of a Task.
    """
    return _checked(value, TaskShape, "Task")


def model(value: Any) -> dict[str, Any]:
    """Return a model of a response, unchanged.

    Raises:
        ValueError: it does not have the shape of a model.
    """
    return _checked(value, ModelShape, "model")


def _checked(value: Any, shape: type[Any], name: str) -> dict[str, Any]:
    if wrong := mismatch(value, shape, name):
        raise ValueError(f"{wrong} has an unexpected shape")
    checked: dict[str, Any] = value
    return checked
