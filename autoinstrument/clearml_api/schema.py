"""The form of what is read of Tasks and models: what a server says is data, and looked at before it is used."""

from __future__ import annotations

from typing import Any

_ANY = "*"
_ITEM: dict[str, Any] = {}
"""Its value may be anything: the server keeps what it is given (API 2.34)."""

TASK: dict[str, Any] = {
    **dict.fromkeys(("id", "name", "comment", "parent", "project"), str),
    **dict.fromkeys(("status", "status_reason", "status_message"), str),
    "system_tags": [str],
    "script": {"entry_point": str},
    "output": {"destination": str},
    "hyperparams": {_ANY: {_ANY: _ITEM}},
    "configuration": {_ANY: _ITEM},
    "last_metrics": {_ANY: {_ANY: {"metric": str, "variant": str, "count": int}}},
    "execution": {"artifacts": [{"key": str, "mode": str, "uri": str, "hash": str, "display_data": [[str]]}]},
    "models": {"input": [{"name": str, "model": str}], "output": [{"name": str, "model": str}]},
}
"""Fields of a Task by name (API 2.34), `_ANY` for names that are anybody's. What is empty may be so in any form."""
MODEL: dict[str, Any] = {
    **dict.fromkeys(("id", "name", "uri", "framework"), str),
    "tags": [str],
    "system_tags": [str],
    "metadata": {_ANY: _ITEM},
}


def task(value: Any) -> dict[str, Any]:
    """Return a Task as the server gave it.

    Raises:
        ValueError: it is none.
    """
    return _checked(value, TASK, "Task")


def model(value: Any) -> dict[str, Any]:
    """Return a model as the server gave it.

    Raises:
        ValueError: it is none.
    """
    return _checked(value, MODEL, "model")


def _checked(value: Any, form: dict[str, Any], what: str) -> dict[str, Any]:
    wrong = "" if isinstance(value, dict) and isinstance(value.get("id"), str) else what
    wrong = wrong or _wrong(value, form, what)
    if wrong:
        raise ValueError(f"{wrong} is of another form")
    checked: dict[str, Any] = value
    return checked


def _wrong(value: Any, form: Any, name: str) -> str:
    """Return the name of what is not of a form, "" where all is."""
    if isinstance(form, type):
        return "" if type(value) is form else name
    if type(value) is not type(form):
        return name
    if isinstance(form, list):
        parts = [(item, form[0], name) for item in value]
    else:
        named = [key for key in form if value.get(key)]
        parts = [(value[key], form[key], f"{name}.{key}") for key in named if key != _ANY]
        parts += [(item, form[_ANY], f"{name}.{key[:40]}") for key, item in value.items() if _ANY in form]
    return next(filter(None, (_wrong(*part) for part in parts)), "")
