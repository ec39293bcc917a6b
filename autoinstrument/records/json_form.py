"""Records as JSON: on the socket, and in the files of recorded runs."""

from __future__ import annotations

from typing import Any, get_type_hints

from autoinstrument.json_shape import mismatch
from autoinstrument.records.answers import Answer
from autoinstrument.records.command import CommandRecord
from autoinstrument.records.process import ProcessRecord
from autoinstrument.records.run import RunRecord

Record = ProcessRecord | RunRecord | Answer | CommandRecord

_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in Record.__args__}


def to_json(record: Record) -> list[Any]:
    """Return the record as a JSON value: its name, then its fields in order."""
    return [type(record).__name__, *record]


def from_json(value: Any) -> Record:
    """Return the record that `to_json` was given.

    Raises:
        ValueError: the value is not a record of this version (unknown name, wrong number of fields); fields with a
            default may be missing, as in the journals of an older version.
    """
    try:
        name, *fields = value
        kind = _TYPES[name]
        most = len(kind._fields)
        least = most - len(kind._field_defaults)
        if not least <= len(fields) <= most:
            raise ValueError(f"{name} has {len(fields)} fields, expected {least} to {most}")
        record: Record = kind(*fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record: {str(value)[:100]}") from error
    return record


def has_right_types(record: Record) -> bool:
    """Return True if the fields of a record that was read from a file have the types that the record declares."""
    kinds = get_type_hints(type(record))
    return not any(mismatch(value, kinds[name]) for name, value in record._asdict().items())


def parse(text: bytes | str) -> Any:
    """Return the value of a JSON text from any source.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    import json  # this module is loaded in the training process before there is anything to send

    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
