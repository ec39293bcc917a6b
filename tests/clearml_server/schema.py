"""Checks of request bodies, with the server's own wording of each refusal (05_refused_and_normalised)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """Raise 400/12 for the first wrong type, or else the first field that is missing or out of bounds.

    The order was seen in 05 #231: types are checked while the values are read in, the rest afterwards.
    """
    for problem in (_type_problem, _limit_problem):
        for name, field in fields.items():
            value = data.get(name)
            if value is None:
                if field.required and problem is _limit_problem:
                    raise validation_error(f"error for field '{name}'. field is required!")
                continue
            found = problem(field, value)
            if found:
                raise validation_error(f"error for field '{name}': {found}.".lower())


def _type_problem(field: Field, value: Any) -> str | None:
    expected = field.model if field.model and not isinstance(value, dict) else ""
    if field.enum and value not in field.choices:
        expected = field.enum
    if field.kind in _TYPES and not isinstance(value, _TYPES[field.kind]):
        if field.kind == "int" and _is_number(value):
            return None
        expected = field.kind
    if expected:
        return f"('value is wrong, expected type \"{expected}\"', {value!r})"
    if field.items is not None and isinstance(value, list):
        return _items_problem(field.items, value, _type_problem)
    return None


def _is_number(value: Any) -> bool:
    """Integer fields are parsed with int(); a text that is no number fails in Python's own words."""
    try:
        int(value)
    except ValueError as error:
        raise validation_error(str(error)) from None
    except TypeError:
        return False
    return True


def _limit_problem(field: Field, value: Any) -> str | None:
    if field.choices and value not in field.choices:
        return f"value '{value}' is not a valid choice."
    if field.maximum is not None and int(value) > field.maximum:
        return f"'{value}' is bigger than maximum ('{field.maximum}')."
    if field.minimum_items and len(value) < field.minimum_items:
        return f"value '{value}' length is lower than allowed minimum '{field.minimum_items}'."
    if field.items is not None and isinstance(value, list):
        return _items_problem(field.items, value, _limit_problem)
    return None


def _items_problem(
    fields: Mapping[str, Field], items: list[Any], problem: Callable[[Field, Any], str | None]
) -> str | None:
    for item in items:
        if not isinstance(item, dict):
            return f"('value is wrong, expected type \"dict\"', {item!r})"
        for name, field in fields.items():
            value = item.get(name)
            if value is None:
                if field.required and problem is _limit_problem:
                    return f"(\"error for field '{name}'.\", validationerror('field is required!'))"
                continue
            found = problem(field, value)
            if found:
                return f"error for field '{name}': {found}."
    return None
