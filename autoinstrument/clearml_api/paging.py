"""Read all Tasks or models that a query finds, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoinstrument.clearml_api.errors import TooLargeError
from autoinstrument.clearml_api.session import Session

PAGE = 500
MOST = 100_000
"""Objects that are read in all: a broken server may send pages for ever."""


def pages(session: Session, kind: str, /, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of all pages, the oldest first.

    Args:
        session: a session with the server.
        kind: "tasks" or "models".
        query: what to search for, and the fields to return.

    Raises:
        TooLargeError: there are more than `MOST`.
        ClearMLError: they cannot be read.
    """
    found = 0
    while found <= MOST:
        answer = session.call(f"{kind}.get_all", **query, order_by=["created"], page=found // PAGE, page_size=PAGE)
        page = answer.get(kind) or []
        yield from page
        found += len(page)
        if len(page) != PAGE:  # a server that knows no pages returns all, or its own choice
            return
    raise TooLargeError(f"the server sends over {MOST} {kind}, and they are not read")
