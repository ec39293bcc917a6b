"""Check the shape of JSON that another program has written, before it is used.

One function for a server's responses, for the files of the journal and for inherited variables. Shapes are written as
type annotations: the types that the code is checked with are those that the data is checked against.
"""

from __future__ import annotations

import functools
import types
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

_LONGEST_NAME = 40


def mismatch(value: Any, shape: Any, name: str = "value") -> str:
    """Return the name of the first part of a value that does not have its shape, "" if all parts have.

    Args:
        value: what a JSON parser returned.
        shape: `Any`, `None`, `str`, `bool`, `int` (of 64 bits), `float` (which may be written as an integer),
            `list[X]`, `dict[str, X]`, `tuple[X, Y]` (a list of two in JSON), `X | Y`, or a `TypedDict`. A dictionary
            may have more keys than its `TypedDict`. A key that is not required may be missing, or hold any empty value.
        name: name of the value, which the names of its parts begin with.
    """
    if shape is Any:
        return ""
    if shape is None or shape is type(None):
        return "" if value is None else name
    if is_typeddict(shape):
        return _typed_dict_mismatch(value, shape, name)
    origin, arguments = get_origin(shape), get_args(shape)
    if origin in (Union, types.UnionType):
        return "" if any(not mismatch(value, one, name) for one in arguments) else name
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(arguments):
            return name
        return _first(mismatch(item, one, name) for item, one in zip(value, arguments, strict=True))
    if origin is list:
        return _first(mismatch(item, arguments[0], name) for item in value) if type(value) is list else name
    if origin is dict:
        if type(value) is not dict:
            return name
        return _first(mismatch(item, arguments[1], f"{name}.{key[:_LONGEST_NAME]}") for key, item in value.items())
    return "" if _is_scalar(value, shape) else name


def _typed_dict_mismatch(value: Any, shape: Any, name: str) -> str:
    if type(value) is not dict or not shape.__required_keys__ <= value.keys():
        return name
    hints, required = _hints(shape), shape.__required_keys__
    parts = ((key, value[key]) for key in hints if key in value and (key in required or value[key]))
    return _first(mismatch(item, hints[key], f"{name}.{key}") for key, item in parts)


def _is_scalar(value: Any, shape: Any) -> bool:
    if shape is int:
        return type(value) is int and abs(value) < 2**63
    return type(value) is shape or (shape is float and type(value) is int)


def _first(names: Any) -> str:
    return next(filter(None, names), "")


@functools.lru_cache(maxsize=64)
def _hints(shape: Any) -> dict[str, Any]:
    return get_type_hints(shape)
