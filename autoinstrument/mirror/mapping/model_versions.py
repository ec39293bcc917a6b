"""Versions of registered models in ClearML: the tags, the metadata, and the property of the Task: pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from autoinstrument.clearml_api import storable
from autoinstrument.records import Model, Version
from autoinstrument.scrubber import hide_in_text, hide_named

_LONGEST = 1000
"""Characters of the property that names a run's registered models."""
REGISTERED = "mlflow_registered_models"
"""The Task's property that names its models' versions: one search for Tasks shows which of them have changed."""
_ITEMS = ("mlflow_registered_model", "mlflow_version", "mlflow_stage", "mlflow_aliases", "mlflow_description")
"""Metadata of a version; the names of the second one end in `_2`."""


def registry_tags(versions: Iterable[Version]) -> set[str]:
    """Return the tags by which aliases and stages are found: `champion` and `iris@champion`, as in MLflow's URIs."""
    found: set[str] = set()
    for version in versions:
        for alias in version["aliases"]:
            found |= {alias, f"{version['name']}@{alias}"}
        if version["stage"]:
            found |= {version["stage"], f"{version['name']}/{version['stage']}"}
    return {storable.text(hide_in_text(tag)) for tag in found}


def is_published(model: Model, names: Collection[str]) -> bool:
    """Return True if an alias or stage of the model is among these names, in upper or lower case."""
    wanted = {name.casefold() for name in names}
    return any(tag.casefold() in wanted for tag in registry_tags(model["versions"] or ()))


def registered(versions: Iterable[Version]) -> str:
    """Return versions with their aliases, stages and tags in one line, as in `iris/2 @champion Production`."""
    lines = []
    for version in sorted(versions, key=lambda each: (each["name"], len(each["version"]), each["version"])):
        aliases = [f"@{alias}" for alias in version["aliases"]]
        stage = [version["stage"]] if version["stage"] else []
        lines.append(
            " ".join([f"{version['name']}/{version['version']}", *aliases, *stage, *tag_texts(version["tags"])])
        )
    text = storable.text(hide_in_text("; ".join(lines)))
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(lines)} versions, {hashlib.sha256(text.encode()).hexdigest()[:16]})"


def tag_texts(values: Mapping[str, str]) -> list[str]:
    """Return MLflow's tags as ClearML's, which have no values: `key=value`; values with a secret's name are hidden."""
    hidden = {key: hide_named(key, value) for key, value in values.items()}
    texts = (hide_in_text(f"{key}={value}" if value else key) for key, value in hidden.items())
    return sorted(storable.text(text) for text in texts)


def items_of(versions: Iterable[Version]) -> dict[str, str]:
    """Return the metadata of a model's versions, "" for what a version lacks."""
    items: dict[str, str] = {}
    for number, version in enumerate(versions, 1):
        values = version["name"], version["version"], version["stage"], ", ".join(version["aliases"])
        items |= dict(zip(_names(number), (*values, version["description"]), strict=True))
    return items


def item_names(items: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of those of a model's metadata that tell of versions."""
    number = 1
    while any(name in items for name in _names(number)):
        yield from _names(number)
        number += 1


def versions_in(items: Mapping[str, str]) -> Iterator[Version]:
    """Yield the versions that `items_of` was given, without their tags."""
    names = list(item_names(items))
    for start in range(0, len(names), len(_ITEMS)):
        name, version, stage, aliases, description = (
            items.get(each, "") for each in names[start : start + len(_ITEMS)]
        )
        yield Version(
            name=name,
            version=version,
            stage=stage,
            aliases=aliases.split(", ") if aliases else [],
            tags={},
            description=description,
        )


def _names(number: int) -> list[str]:
    return [f"{name}{f'_{number}' if number > 1 else ''}" for name in _ITEMS]
