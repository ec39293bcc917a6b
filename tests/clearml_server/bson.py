"""Which values MongoDB stores, and their size there; errors have the texts of pymongo 4, which the server passes on."""

from __future__ import annotations

from typing import Any

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100
_INT32, _INT64 = 2**31, 2**63


def size(value: Any, depth: int = 0) -> int:
    """Return how many bytes a value takes.

    Raises:
        UnicodeEncodeError: text with lone surrogates, in a key too.
        OverflowError: an integer over 64 bits.
        ValueError: a key with NUL, or nested too deeply.
    """
    if isinstance(value, str):
        return 5 + len(value.encode())
    if isinstance(value, bool):
        return 1
    if value is None:
        return 0
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise OverflowError("MongoDB can only handle up to 8-byte ints")
        return 4 if -_INT32 <= value < _INT32 else 8
    if isinstance(value, (list, tuple)):
        value = dict(zip(map(str, range(len(value))), value, strict=True))
    if not isinstance(value, dict):
        return 8
    if depth >= MAX_DEPTH:
        raise ValueError(f"Document is nested more than {MAX_DEPTH} levels deep")
    total = 5
    for key, item in value.items():
        if "\0" in key:
            raise ValueError("Invalid document: Key names must not contain the NULL byte")
        total += 2 + len(key.encode()) + size(item, depth + 1)
    return total
