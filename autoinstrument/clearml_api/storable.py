"""Make values storable: replace what ClearML's databases refuse, so that one odd character does not cost a whole Task.

A Task is a BSON document in MongoDB, an event is a document in Elasticsearch. Neither takes lone surrogates, keys with
NUL, or integers over 64 bits; the server answers 500 each time (API 2.34). Python keeps each byte that does not fit the
file system's encoding as a lone surrogate: in `sys.argv`, in paths, in names of files.

`Session` passes everything that it sends through `value`. Callers that look something up by its name later (parameters,
curves, artifacts) use `name` on both sides of the comparison. Applying a function to its own result changes nothing.
"""

from __future__ import annotations

import functools
import re
from typing import Any

_BYTES = re.compile(r"[\udc80-\udcff]+")
"""Bytes as Python's error handler "surrogateescape" writes them."""
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_NO_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INT64 = 2**63
_DEEPEST = 90
"""Levels of nesting; MongoDB takes 100, and the values of a request are parts of a document."""


def text(value: str) -> str:
    r"""Return the text without lone surrogates and NUL, otherwise unchanged.

    Bytes that are UTF-8 are decoded (an argument "ä" in the C locale is "ä"), others are escaped, as in `\xff`.
    """
    if "\0" not in value and _is_unicode(value):
        return value
    whole = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")  # pairs become characters
    decoded = _BYTES.sub(lambda found: _decoded(found[0]), whole)
    return _NO_TEXT.sub(_escaped, decoded)


@functools.lru_cache(maxsize=1000)  # those of an event's fields are asked for with each event
def name(value: str) -> str:
    """Return a name as `text` does, with control characters escaped: names are shown in lists and addresses."""
    return _NO_NAME.sub(_escaped, text(value))


def value(given: Any, _depth: int = 0) -> Any:
    """Return a JSON value that the server can store.

    Integers over 64 bits become the nearest that fit, and what is no JSON its text.
    """
    if isinstance(given, str):
        return text(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return max(-_INT64, min(given, _INT64 - 1))
    if isinstance(given, (dict, list, tuple)) and _depth >= _DEEPEST:
        return text(str(given))
    if isinstance(given, dict):
        return {name(str(key)): value(item, _depth + 1) for key, item in given.items()}
    if isinstance(given, (list, tuple)):
        return [value(item, _depth + 1) for item in given]
    return given if given is None or isinstance(given, (bool, float)) else text(str(given))


def _is_unicode(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoded(surrogates: str) -> str:
    return surrogates.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
