"""Count the HTTP requests that this process and its `--jobs` make, by server and status.

Both MLflow's client and ClearML's SDK use `requests`, whose public `Session.send` is replaced for that, in a command's
process alone. A database that is MLflow's store gets no requests.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

Key = tuple[str, str]
"""Host and port of a server, and the status of its response; "none" without a response."""
_lock = threading.Lock()
_counts: Counter[Key] = Counter()
_is_counting = False


def count_requests() -> None:
    """Begin to count; doing it again changes nothing."""
    global _is_counting
    if _is_counting:
        return
    import requests

    _is_counting = True
    original: Any = requests.Session.send

    @functools.wraps(original)
    def send(session: Any, request: Any, **options: Any) -> Any:
        code = "none"
        try:
            response = original(session, request, **options)
            code = str(response.status_code)
            return response
        finally:
            add({(urlsplit(str(request.url)).netloc.rpartition("@")[2], code): 1})

    setattr(requests.Session, "send", send)  # noqa: B010 - mypy: a method


def is_counting() -> bool:
    """Return True if requests are counted in this process."""
    return _is_counting


def add(counts: Mapping[Key, int]) -> None:
    """Add what was counted, here or in another process."""
    with _lock:
        _counts.update(counts)


def counted() -> dict[Key, int]:
    """Return what was counted so far."""
    with _lock:
        return dict(_counts)


def take() -> dict[Key, int]:
    """Return what was counted, and count from 0 again."""
    with _lock:
        taken = dict(_counts)
        _counts.clear()
        return taken
