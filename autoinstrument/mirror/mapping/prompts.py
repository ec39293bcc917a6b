"""Map the prompts of a run to its Task: pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from autoinstrument.mirror.mapping.links import page
from autoinstrument.records import Prompt, RunStarted, parse
from autoinstrument.scrubber import hide_in_text

OBJECT = "MLflow prompts"
PROPERTY = "mlflow_prompts"
"""User property that names them, by which a search sees whether one is missing."""
_LONGEST, _ALL = 100_000, 2_000_000
"""Characters of one prompt, and of all of them: a Task is one document of 16 MB."""
_MOST_LINKS = 100


def label(name: str, version: str) -> str:
    """Return the name of a prompt's version for a person, as it follows `prompts:/` in its URI."""
    return f"{name}/{version}"


def entries(text: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a Task's configuration object by label; none if an edit has made it unreadable."""
    try:
        found = [item for item in parse(text or "[]") if isinstance(item, dict)]
    except (TypeError, ValueError):
        return {}
    return {label(item.get("name", ""), item.get("version", "")): item for item in found}


def merged(held: Mapping[str, dict[str, Any]], used: Iterable[Prompt]) -> dict[str, dict[str, Any]]:
    """Return the entries that a Task must have; one of a prompt that the registry has lost stays as it is."""
    new = {label(prompt["name"], prompt["version"]): as_entry(prompt) for prompt in used}
    result = {**held, **{name: entry for name, entry in new.items() if "template" in entry or name not in held}}
    room = _ALL
    for entry in result.values():
        size = len(json.dumps(entry, ensure_ascii=False))
        if size > min(_LONGEST, room) and "template" in entry:
            entry["template"] = left_out(entry["template"])
            entry.pop("response_format", None)
        else:
            room -= size
    return result


def left_out(template: Any) -> str:
    """Return what takes the place of a prompt's text that is too long."""
    return f"{len(str(template))} characters, left out"


def as_configuration(held: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Return the configuration object: a JSON list."""
    text = json.dumps(list(held.values()), indent=2, ensure_ascii=False)
    return {"name": OBJECT, "value": text, "type": "json", "description": "prompts that the MLflow run has used"}


def pages(used: Iterable[Prompt], run: RunStarted) -> Iterator[dict[str, Any]]:
    """Yield an artifact for each of the first prompts that is a link to its page, if MLflow's pages have an address."""
    base, has_pages, below = run.run_url.partition("/#/")
    _, has_query, query = below.partition("?")
    for prompt in list(used)[:_MOST_LINKS] if has_pages else ():
        name, version = prompt["name"], prompt["version"]
        # MLflow 2.21 to 3.17; older pages ignore the version.
        url = f"{base}/#/prompts/{quote(name, safe='')}?promptVersion={quote(version, safe='')}"
        shown = [["prompt", name], ["version", version], ["aliases", ", ".join(prompt["aliases"])]]
        yield page(f"prompt {label(name, version)}", f"{url}&{query}" if has_query else url, run, shown)


def as_entry(prompt: Prompt) -> dict[str, Any]:
    """Return the entry of one prompt, with secrets hidden; it has no template if the registry has lost the prompt."""
    entry: dict[str, Any] = {
        "name": prompt["name"],
        "version": prompt["version"],
        "uri": f"prompts:/{label(prompt['name'], prompt['version'])}",
        "aliases": prompt["aliases"],
        "template": _template(prompt),
        "commit_message": hide_in_text(prompt["description"]),
        "tags": {key: hide_in_text(value) for key, value in prompt["tags"].items()},
        "response_format": _parsed(prompt["response_format"]),
        "model_config": _parsed(prompt["model_config"]),
    }
    return {name: value for name, value in entry.items() if value}


def _template(prompt: Prompt) -> Any:
    return _parsed(prompt["template"]) if prompt["is_chat"] else hide_in_text(prompt["template"])


def _parsed(text: str) -> Any:
    """Return the value of a JSON text, with secrets hidden in its texts; the text itself if it is not JSON."""
    hidden = hide_in_text(text)
    try:
        return parse(hidden) if hidden else None
    except ValueError:
        return hidden
