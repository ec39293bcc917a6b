"""All pages are read, of a server that knows pages and of one that does not."""

from __future__ import annotations

from typing import Any, cast

import pytest

from autoinstrument.clearml_api import paging
from autoinstrument.clearml_api.errors import TooLargeError
from autoinstrument.clearml_api.session import Session

OBJECTS = [{"id": str(number)} for number in range(7)]


class Server:
    """Answers with pages; `choice` returns them."""

    def __init__(self, choice: Any) -> None:
        self.choice, self.requests = choice, 0

    def call(self, action: str, *, page: int, page_size: int, **_: Any) -> dict[str, Any]:
        assert action == "tasks.get_all"
        self.requests += 1
        return {"tasks": self.choice(page, page_size)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE", 3)
    monkeypatch.setattr(paging, "MOST", 20)


def read(server: Server) -> list[dict[str, Any]]:
    return list(paging.pages(cast("Session", server), "tasks", project=["p"]))


def test_all_pages() -> None:
    server = Server(lambda page, size: OBJECTS[page * size : (page + 1) * size])
    assert (read(server), server.requests) == (OBJECTS, 3)


def test_a_server_that_knows_no_pages() -> None:
    server = Server(lambda *_: OBJECTS)
    assert (read(server), server.requests) == (OBJECTS, 1)


def test_a_server_that_sends_pages_for_ever() -> None:
    server = Server(lambda *_: OBJECTS[:3])
    with pytest.raises(TooLargeError, match="over 20 tasks"):
        read(server)
    assert server.requests == 7
