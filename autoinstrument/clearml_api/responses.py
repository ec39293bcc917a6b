"""Read a response of the API or of a file server: its data, or the error that it stands for."""

from __future__ import annotations

import re
from typing import Any

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    HiccupError,
    InternalError,
    NotAllowedError,
    RefusedError,
    UnavailableError,
)
from autoinstrument.records import parse

_MAX_RETRY_AFTER_S = 600.0
_LONGEST_MESSAGE = 500
_CANNOT_STORE = re.compile(
    "surrogates not allowed|8-byte ints|NULL byte|document too large|document after update is larger|nested", re.I
)
"""Messages of pymongo and MongoDB about a document that they will never take."""
_NOT_INDEXED = "failed to index"
"""Message of the event index about single events."""
_PASSING = re.compile(
    "connection|time-?out|timed out|unavailable|not primary|not master|read-only|rejected execution|not active", re.I
)
"""Messages of databases that restart, are overloaded, or have no disk space; events then fail to index too."""
_WITHOUT_SERVER = frozenset({301, 302, 303, 307, 308, 404, 405})
"""Statuses of a gateway that has lost the server for a while, as an ingress of Kubernetes, or shows another page."""
_OF_CONTENT = frozenset({413, 414, 415, 422, 431})
"""Statuses of a gateway that refuses a request for its size or form, whichever server stands behind it. Not 400, which
some answer in an outage, too."""
_LOW_DISK_SPACE, _INCONSISTENT, _DATABASE_UNAVAILABLE = 4, 101, 102
"""Subcodes of a 500."""


def data_of(response: Any, action: str) -> dict[str, Any]:
    """Return the data of an HTTP response, an empty dictionary if it has none.

    Raises:
        ClearMLError: the response is an error, or does not come from a ClearML server.
    """
    try:
        body = parse(response.content)
    except ValueError:
        body = None
    meta, data = (body.get(part) if isinstance(body, dict) else None for part in ("meta", "data"))
    meta = meta if isinstance(meta, dict) else {}
    status = response.status_code
    if status == 200:
        if not isinstance(body, (dict, list)):  # a file server's is a list
            raise UnavailableError(f"{action}: the response does not come from a ClearML server")
        return data if isinstance(data, dict) else {}
    message = str(meta.get("result_msg") or response.reason)[:_LONGEST_MESSAGE]
    text = " ".join(f"{action}: {status} {message}".split())[:_LONGEST_MESSAGE]
    if status in (401, 403) and (meta or status == 401):
        raise NotAllowedError(text)
    subcode = meta.get("result_subcode")
    subcode = subcode if isinstance(subcode, int) else 0
    if status == 500 and meta:
        raise error_of_500(text, subcode, _retry_after_s(response))
    if status in (408, 425, 429) or status >= 500 or (not meta and status in _WITHOUT_SERVER):
        raise HiccupError(text, _retry_after_s(response))
    if not meta and status not in _OF_CONTENT:  # a firewall dislikes the content, or everything
        raise InternalError(text, _retry_after_s(response))
    raise RefusedError(text, (status, subcode))


def error_of_500(text: str, subcode: int, retry_after_s: float = 0.0) -> ClearMLError:
    """Return the error that a 500 of the API stands for: the API answers so to every exception in it (API 2.34)."""
    if subcode == _INCONSISTENT or _CANNOT_STORE.search(text):
        return RefusedError(text, (500, subcode))
    if subcode in (_LOW_DISK_SPACE, _DATABASE_UNAVAILABLE) or _PASSING.search(text):
        return HiccupError(text, retry_after_s)
    if _NOT_INDEXED in text:
        return RefusedError(text, (500, subcode))
    return InternalError(text, retry_after_s)


def _retry_after_s(response: Any) -> float:
    """Return the pause that a server asks for (RFC 9110, 10.2.3), in seconds; a date counts as a minute."""
    asked = response.headers.get("Retry-After", "").strip()
    if not asked:
        return 0.0
    return min(float(asked), _MAX_RETRY_AFTER_S) if asked.isdecimal() else 60.0
