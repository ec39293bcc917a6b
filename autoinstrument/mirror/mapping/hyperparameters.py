"""Hyperparameters and configuration objects of a Task: the items that ClearML's requests take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autoinstrument.clearml_api import storable

PROPERTIES = "properties"
"""The section that ClearML's pages show as user properties."""
_MAX_LINES = 1000


def hyperparameter(section: str, name: str, value: str, kind: str = "", description: str = "") -> dict[str, str]:
    """Return one item of a hyperparameter section; values are always strings (the server refuses others, 400/12)."""
    item = {"section": section, "name": storable.name(name), "value": storable.text(value)}
    if kind:
        item["type"] = kind
    if description:
        item["description"] = description
    return item


def by_name(items: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the values of items by name."""
    return {item["name"]: item["value"] for item in items}


def sections(items: Iterable[Mapping[str, str]]) -> dict[str, dict[str, Mapping[str, str]]]:
    """Return items as `tasks.create` takes them: by section, then by name."""
    by_section: dict[str, dict[str, Mapping[str, str]]] = {}
    for item in items:
        by_section.setdefault(item["section"], {})[item["name"]] = item
    return by_section


def item_name(item: Mapping[str, str]) -> str:
    """Return the words for a hyperparameter in a message about its rejection."""
    return f"{item['name'][:100]!r} of section {item['section']}"


def text_object(name: str, lines: Sequence[str], more: int, description: str) -> dict[str, str]:
    """Return a configuration object that lists lines, a thousand at most; `more` counts lines that are not given."""
    more += max(0, len(lines) - _MAX_LINES)
    text = "\n".join([*lines[:_MAX_LINES], *([f"and {more} more"] if more else [])])
    return {"name": name, "value": text, "type": "text", "description": description}
