"""The lineage of a clone's run: tags of the run, and user properties of its Task with the same values.

From the properties `sync` restores the tags. They also name the origin of a Task that was reset and runs again: by then
its property `mlflow_run_id` names the run that it had before.
"""

from __future__ import annotations

from collections.abc import Mapping

CLONED_FROM, CLONED_FROM_RUN, CHANGED = "clearml.cloned_from", "clearml.cloned_from_run", "clearml.changed"
_TAGS = (CLONED_FROM, CLONED_FROM_RUN, CHANGED)


def as_property(tag: str) -> str:
    """Return the name of the property that has the value of a tag."""
    return tag.replace("clearml.", "mlflow_")


def lineage(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a run that belong to its lineage."""
    return {tag: tags[tag] for tag in _TAGS if tags.get(tag)}


def as_properties(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of a run's Task by name, with "" for each that it must not keep from its origin."""
    return {as_property(tag): tags.get(tag, "") for tag in _TAGS}


def from_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the lineage tags of a run, given the properties of its Task by name."""
    return lineage({tag: properties.get(as_property(tag), "") for tag in _TAGS})
