"""The lineage of a run: tags of the run, and user properties of its Task with the same values.

It names the origin of a clone, and the run above that of a step of a pipeline or of a job of an optimiser. From the
properties `sync` restores the tags. They also name the origin of a Task that was reset and runs again: by then
its property `mlflow_run_id` names the run that it had before.
"""

from __future__ import annotations

from collections.abc import Mapping

from autoinstrument.mlflow_store.describe import PARENT_RUN
from autoinstrument.records import RunStarted

CLONED_FROM, CLONED_FROM_RUN, CHANGED = "clearml.cloned_from", "clearml.cloned_from_run", "clearml.changed"
_PROPERTIES = {
    CLONED_FROM: "mlflow_cloned_from",
    CLONED_FROM_RUN: "mlflow_cloned_from_run",
    CHANGED: "mlflow_changed",
    PARENT_RUN: "mlflow_parent_run",
}
"""Properties by tag. MLflow has a tag for the run above; a run that had it from its beginning has no such property."""


def as_property(tag: str) -> str:
    """Return the name of the property that has the value of a tag."""
    return _PROPERTIES[tag]


def lineage(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a run that belong to its lineage."""
    return {tag: tags[tag] for tag in _PROPERTIES if tags.get(tag)}


def as_properties(run: RunStarted) -> dict[str, str]:
    """Return the properties of a run's Task by name, with "" for each that it must not keep from its origin."""
    own = {tag: value for tag, value in run.tags.items() if not (tag == PARENT_RUN and run.parent_run_id)}
    return {name: own.get(tag, "") for tag, name in _PROPERTIES.items()}


def from_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the lineage tags of a run, given the properties of its Task by name."""
    return lineage({tag: properties.get(name, "") for tag, name in _PROPERTIES.items()})
