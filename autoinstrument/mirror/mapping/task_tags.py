"""From the templates of `AUTOINSTRUMENT_TAGS` to tags of a Task."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping

from autoinstrument.clearml_api import storable
from autoinstrument.scrubber import hide_named

_LONGEST = 250
"""Characters of a tag."""


def names_in(templates: Iterable[str]) -> set[str]:
    """Return the names that templates stand on."""
    return {name for template in templates for _, name, _, _ in string.Formatter().parse(template) if name}


def rendered(templates: Iterable[str], tags: Mapping[str, str], params: Mapping[str, str]) -> list[str]:
    """Return the tags for a run, without those whose template names something that the run lacks or has empty.

    A name stands for the run's tag, or else for its parameter. Values of secret names are hidden.
    """
    found = (_rendered(template, tags, params) for template in templates)
    return list(dict.fromkeys(tag for tag in found if tag))


def given_tags(text: str) -> list[str]:
    """Return the tags that the property `GIVEN_TAGS` lists; a person may have edited it."""
    try:
        tags = json.loads(text)
    except ValueError:
        return []
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _rendered(template: str, tags: Mapping[str, str], params: Mapping[str, str]) -> str:
    parts = []
    for text, name, _, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is not None:
            value = (tags.get(name) or params.get(name) or "").strip()
            if not value:
                return ""
            parts.append(hide_named(name, value))
    return storable.text(" ".join("".join(parts).split())[:_LONGEST])
