"""Checks of request bodies, with the server's own wording of each refusal (05_refused_and_normalised)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .envelope import Doc, validation_error

_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "dict": dict, "list": list}


@dataclass(frozen=True)
class Field:
    """One field of a request. Unknown fields are ignored and `null` counts as not given."""

    kind: str = "any"
    required: bool = False
    choices: tuple[str, ...] = ()
    enum: str = ""  # the class name that the refusal shows instead of a list of choices
    maximum: int | None = None
    minimum_items: int = 0
    items: Mapping[str, Field] | None = None
    model: str = ""  # a nested object: its class name, in lower case as the refusal shows it


STR = Field("str")
REQUIRED_STR = Field("str", required=True)
REQUIRED = Field(required=True)
INT = Field("int")
DICT = Field("dict")


def check(data: Doc, fields: Mapping[str, Field]) -> None:
    """Raise 400/12 for the first field that is missing or wrong."""
    for name, field in fields.items():
        value = data.get(name)
        if value is None:
            if field.required:
                raise validation_error(f"error for field '{name}'. field is required!")
            continue
        problem = _problem(field, value)
        if problem:
            raise validation_error(f"error for field '{name}': {problem}.".lower())


def _problem(field: Field, value: Any) -> str | None:
    if field.model and not isinstance(value, dict):
        return f"('value is wrong, expected type \"{field.model}\"', {value!r})"
    if field.enum and value not in field.choices:
        return f"('value is wrong, expected type \"{field.enum}\"', {value!r})"
    if field.kind == "int" and not isinstance(value, int):
        return _check_int(value)
    if field.kind in _TYPES and not isinstance(value, _TYPES[field.kind]):
        return f"('value is wrong, expected type \"{field.kind}\"', {value!r})"
    if field.choices and value not in field.choices:
        return f"value '{value}' is not a valid choice."
    if field.maximum is not None and value > field.maximum:
        return f"'{value}' is bigger than maximum ('{field.maximum}')."
    if field.minimum_items and len(value) < field.minimum_items:
        return f"value '{value}' length is lower than allowed minimum '{field.minimum_items}'."
    if field.items is not None and isinstance(value, list):
        for item in value:
            problem = _item_problem(field.items, item)
            if problem:
                return problem
    return None


def _check_int(value: Any) -> str | None:
    """Integer fields are parsed with int(); only a text that is no number fails, with Python's own words."""
    try:
        int(value)
    except ValueError as error:
        raise validation_error(str(error)) from None
    except TypeError:
        return f"('value is wrong, expected type \"int\"', {value!r})"
    return None


def _item_problem(fields: Mapping[str, Field], item: Any) -> str | None:
    if not isinstance(item, dict):
        return f"('value is wrong, expected type \"dict\"', {item!r})"
    for name, field in fields.items():
        value = item.get(name)
        if value is None:
            if field.required:
                return f"(\"error for field '{name}'.\", validationerror('field is required!'))"
            continue
        problem = _problem(field, value)
        if problem:
            return f"error for field '{name}': {problem}."
    return None
