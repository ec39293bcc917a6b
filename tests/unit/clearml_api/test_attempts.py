"""Requests have a deadline and a heartbeat, and are made again where that helps."""

from __future__ import annotations

import threading

import pytest

from autoinstrument.clearml_api.attempts import Attempts, made
from autoinstrument.clearml_api.errors import (
    HiccupError,
    InternalError,
    NotAllowedError,
    RefusedError,
    UnavailableError,
    UnreachableError,
)
from autoinstrument.clearml_api.session import Session
from tests.clearml_server import ClearMLServer, Fault


@pytest.mark.parametrize(
    "fault", [Fault(status=503, times=2), Fault(status=500, times=2), Fault(action="drop", times=2)]
)
def test_a_single_failure_is_not_seen(server: ClearMLServer, session: Session, fault: Fault) -> None:
    session.ping()
    server.faults.add(fault)
    assert session.call("tasks.get_all") == {"tasks": []}


@pytest.mark.parametrize(
    ("fault", "error", "attempts"),
    [
        (Fault("tasks.get_all", status=503), HiccupError, 3),
        (Fault("tasks.get_all", status=500), InternalError, 3),
        (Fault("tasks.get_all", status=503, retry_after=30), HiccupError, 1),
        (Fault("tasks.get_all", status=413), RefusedError, 1),
        (Fault("tasks.get_all", status=403), NotAllowedError, 1),
        (Fault("tasks.get_all", status=404), HiccupError, 3),
    ],
)
def test_how_often_a_request_is_made(
    server: ClearMLServer, session: Session, fault: Fault, error: type[Exception], attempts: int
) -> None:
    session.ping()
    server.faults.add(fault)
    with pytest.raises(error) as raised:
        session.call("tasks.get_all")
    assert len(server.calls("tasks.get_all")) == attempts
    assert getattr(raised.value, "retry_after_s", 0) == (fault.retry_after or 0)


def test_call_once_is_one_attempt(server: ClearMLServer, session: Session) -> None:
    session.ping()
    server.faults.add(Fault("tasks.get_all", status=503))
    with pytest.raises(HiccupError):
        session.call_once("tasks.get_all")
    assert len(server.calls("tasks.get_all")) == 1


def test_a_server_that_is_gone_is_not_asked_again(server: ClearMLServer, session: Session) -> None:
    session.ping()
    server.close()
    with pytest.raises(UnreachableError, match=r"tasks\.get_all: connection refused"):
        session.call("tasks.get_all")


def test_a_request_has_a_deadline_of_its_own() -> None:
    """The limits of a connection are for each packet: a server may send one now and then."""
    abandoned: list[bool] = []
    over = threading.Event()
    attempts = Attempts(lambda: abandoned.append(over.is_set()))
    with pytest.raises(UnavailableError, match=r"tasks\.ping: no answer within 1 s"):
        attempts.once(over.wait, "tasks.ping", 1.0)
    assert abandoned == [False], "while the request is still under way"
    over.set()


@pytest.mark.parametrize(
    ("failures", "is_found", "result"),
    [(0, False, "made 1"), (1, False, "made 2"), (2, False, "made 3"), (1, True, "found"), (3, False, "")],
)
def test_an_object_is_looked_for_before_it_is_made_again(failures: int, is_found: bool, result: str) -> None:
    attempts = 0

    def make() -> str:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise HiccupError("the connection broke")
        return f"made {attempts}"

    def find() -> str:
        return "found" if is_found else ""

    if result:
        assert made(make, find) == result
    else:
        with pytest.raises(HiccupError):
            made(make, find)


@pytest.mark.parametrize("error", [UnavailableError("no answer within 10 s"), HiccupError("busy", 30.0)])
def test_an_object_is_not_made_again_at_once_if_the_server_is_busy(error: UnavailableError) -> None:
    def make() -> str:
        raise error

    with pytest.raises(UnavailableError):
        made(make, lambda: pytest.fail("it may still be about to be made"))
