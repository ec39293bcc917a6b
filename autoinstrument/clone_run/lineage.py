"""Where the run of a cloned Task comes from: tags of the run, and user properties of its Task that say the same.

The properties let `sync` restore the tags, and they name the origin of a Task that was reset and is run again: by then
its property `mlflow_run_id` names the run that it had before.
"""

from __future__ import annotations

from collections.abc import Mapping

CLONED_FROM, CLONED_FROM_RUN, CHANGED = "clearml.cloned_from", "clearml.cloned_from_run", "clearml.changed"
_TAGS = (CLONED_FROM, CLONED_FROM_RUN, CHANGED)


def as_property(tag: str) -> str:
    """Return the name of the property that says what a tag says."""
    return tag.replace("clearml.", "mlflow_")


def lineage(tags: Mapping[str, str]) -> dict[str, str]:
    """Return those of a run's tags that say where it comes from."""
    return {tag: tags[tag] for tag in _TAGS if tags.get(tag)}


def as_properties(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of a run's Task, by name; "" for one that it must not have, as a clone of a clone may."""
    return {as_property(tag): tags.get(tag, "") for tag in _TAGS}


def from_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a run, given its Task's properties by name."""
    return lineage({tag: properties.get(as_property(tag), "") for tag in _TAGS})
