"""A refused batch is halved down to the items that are at fault; everything else is sent once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.clearml_api.errors import ClearMLError, InternalError, RefusedError, UnavailableError
from autoinstrument.mirror.rejections import REFUSED, Rejections


def taking_all_but(bad: set[str], stored: list[str], error: ClearMLError) -> Callable[[list[str]], None]:
    """Return a server that refuses a batch with a bad item, and stores any other."""

    def send(items: list[str]) -> None:
        if bad & set(items):
            raise error
        stored.extend(items)

    return send


def test_only_the_items_at_fault_are_left_out() -> None:
    rejections, stored = Rejections("run"), list[str]()
    items = [str(number) for number in range(50)]
    rejections.send_each(taking_all_but({"7", "31"}, stored, RefusedError("no")), items, str)
    assert stored == [item for item in items if item not in ("7", "31")]
    listed = rejections.new_list()
    assert listed is not None
    assert (listed["name"], listed["value"]) == (REFUSED, "7: no\n31: no")
    assert rejections.new_list() is None, "nothing is new"


def test_a_task_that_refuses_everything_is_given_up_soon() -> None:
    """Two thousand items are not tried one by one."""
    sent = []

    def send(items: list[int]) -> None:
        sent.append(items)
        raise RefusedError("full")

    rejections = Rejections("run")
    rejections.send_each(send, list(range(2000)), str)
    assert len(sent) < 100
    listed = rejections.new_list()
    assert listed is not None
    assert listed["value"].splitlines()[-1] == "and 1000 more"


def test_a_deleted_task_refuses_no_item() -> None:
    gone = RefusedError("gone", (400, 101))
    rejections = Rejections("run")
    with pytest.raises(RefusedError):
        rejections.send_each(taking_all_but({"a"}, [], gone), ["a", "b"], str)
    assert rejections.new_list() is None


def test_console_lines_of_a_batch_that_is_stored_in_part_are_sent_once() -> None:
    """Points that are sent again replace themselves."""
    sent: list[list[dict[str, Any]]] = []

    def send(events: list[dict[str, Any]]) -> None:
        sent.append(events)
        if any(event.get("value") == "bad" for event in events):
            raise RefusedError("partly", (500, 100))

    line, good, bad = {"type": "log"}, {"type": "scalar", "value": 1}, {"type": "scalar", "value": "bad", "metric": "m"}
    rejections = Rejections("run")
    rejections.send_events(send, [line, good, bad])
    assert sent == [[line, good, bad], [good, bad], [good], [bad]]
    listed = rejections.new_list()
    assert listed is not None
    assert listed["value"].startswith("the point m/")


def test_an_item_is_at_fault_only_while_the_server_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error may be the server's own."""

    def is_ill(after_s: float) -> None:
        raise UnavailableError("ill")

    rejections = Rejections("run", is_ill)
    with pytest.raises(UnavailableError):
        rejections.send_each(taking_all_but({"a"}, [], InternalError("oops")), ["a"], str)
    assert rejections.new_list() is None
    well = Rejections("run", lambda after_s: None)
    well.send_each(taking_all_but({"a"}, [], InternalError("oops")), ["a"], str)
    assert well.new_list() is not None


def test_a_server_that_is_away_is_not_asked_for_each_half() -> None:
    """Kubernetes' ingress answers 404 while the server restarts; a firewall answers 403 for what it dislikes."""
    sent = []

    def send(items: list[int]) -> None:
        sent.append(items)
        raise InternalError("404 Not Found")

    def is_away(after_s: float) -> None:
        raise UnavailableError("404 Not Found")

    rejections = Rejections("run", is_away)
    with pytest.raises(UnavailableError):
        rejections.send_each(send, list(range(2000)), str)
    assert len(sent) == 1
    assert rejections.new_list() is None
