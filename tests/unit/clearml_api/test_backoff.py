"""The pauses in which a server that failed is left alone."""

from __future__ import annotations

import time

import pytest

from autoinstrument.clearml_api.backoff import Backoff
from autoinstrument.clearml_api.errors import NotAllowedError, UnavailableError, UnreachableError

pytestmark = pytest.mark.real_pauses  # of a clock that the test moves


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def wait_s(backoff: Backoff, clock: list[float]) -> float:
    began = clock[0]
    while not backoff.is_due():
        clock[0] += 0.1
    return clock[0] - began


def test_waits_grow_up_to_a_minute_and_a_success_ends_them(clock: list[float]) -> None:
    backoff = Backoff()
    waits = []
    for _ in range(8):
        backoff.failed(UnavailableError("x"), 0.1)
        waits.append(wait_s(backoff, clock))
    assert 1.4 < waits[0] < 2.7
    assert waits[0] < waits[2] < waits[5] <= 75.2
    assert 45 <= waits[-1] <= 75.2
    backoff.succeeded()
    backoff.failed(UnavailableError("x"), 0.1)
    assert wait_s(backoff, clock) < 2.7


def test_the_pause_that_a_server_asks_for_is_kept(clock: list[float]) -> None:
    backoff = Backoff()
    backoff.failed(UnavailableError("x", 30), 0.1)
    backoff.try_once_more()
    assert wait_s(backoff, clock) >= 30


def test_one_more_try_at_the_end_unless_the_server_hangs(clock: list[float]) -> None:
    backoff = Backoff()
    backoff.failed(UnavailableError("x"), 0.1)
    backoff.try_once_more()
    assert backoff.is_due()
    clock[0] += 10
    backoff.failed(UnavailableError("x"), 10)
    backoff.try_once_more()
    assert not backoff.is_due()


def test_calls_that_fail_together_count_once(clock: list[float]) -> None:
    """Eight threads that lose their server count as one outage, not as eight."""
    backoff = Backoff()
    for _ in range(8):
        backoff.failed(UnavailableError("x"), 5)
        clock[0] += 0.1
    assert backoff.has_failed
    assert backoff.has_hope()
    assert wait_s(backoff, clock) < 2.7
    backoff.succeeded()
    assert not backoff.has_failed


def test_one_answer_lets_others_try_and_leaves_the_pauses_as_they_are(clock: list[float]) -> None:
    """The server may answer small requests, and still fail for what is sent to it."""
    backoff = Backoff()
    for pause_s in (2, 4):
        backoff.failed(UnavailableError("x"), 0.1)
        assert backoff.has_failed
        assert wait_s(backoff, clock) == pytest.approx(pause_s, rel=0.3)
        backoff.answered()
        assert not backoff.has_failed
        assert backoff.is_due()


def test_a_server_without_hope(clock: list[float]) -> None:
    backoff = Backoff()
    for _ in range(2):
        backoff.failed(UnavailableError("x"), 0.1)
        assert backoff.has_hope()
        clock[0] += 10
    backoff.failed(UnavailableError("x"), 0.1)
    assert not backoff.has_hope()
    for error in (UnreachableError("x"), NotAllowedError("x")):
        backoff = Backoff()
        backoff.failed(error, 0.1)
        assert not backoff.has_hope()


@pytest.mark.parametrize(("asked_s", "hope"), [(0, False), (3, True), (60, True), (300, False)])
def test_a_server_that_asks_for_a_short_pause_is_not_given_up(clock: list[float], asked_s: float, hope: bool) -> None:
    """It answers: a gateway that counts requests does so again and again, and takes them after its pause."""
    backoff = Backoff()
    for _ in range(5):
        backoff.failed(UnavailableError("x", asked_s), 0.1)
        wait_s(backoff, clock)
    assert backoff.has_hope() is hope
    assert backoff.has_failed
    backoff.succeeded()
    assert backoff.has_hope()
