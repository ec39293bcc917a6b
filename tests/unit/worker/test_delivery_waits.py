"""The answers to a process that waits for delivery."""

from __future__ import annotations

from autoinstrument.records import Delivered, DeliveryAwaited, Record, RunsDelivered
from autoinstrument.worker.delivery_waits import DeliveryWaits


def test_a_call_is_answered_once_when_each_run_was_delivered_once() -> None:
    """A run that has new data meanwhile keeps the script waiting no longer."""
    sent = list[Record]()
    waits = DeliveryWaits(sent.append)
    waits.answer(lambda _: False)
    assert (waits.any_open, sent) == (False, [])
    waits.begin(DeliveryAwaited(7), ["a", "b"])
    for undelivered, expected in (("ab", []), ("b", []), ("a", [RunsDelivered(7)]), ("", [RunsDelivered(7)])):
        waits.answer(undelivered.__contains__)
        assert sent == expected
        assert waits.any_open is not bool(expected)


def test_an_exit_is_answered_and_may_come_again() -> None:
    sent = list[Record]()
    waits = DeliveryWaits(sent.append)
    assert (waits.of_exit, waits.is_answered) == (False, False)
    for number in (1, 2):  # the handlers of a program that runs several
        waits.begin_exit()
        assert (waits.of_exit, waits.any_open, waits.is_answered) == (True, True, False)
        waits.answer_exit()
        assert (waits.of_exit, waits.any_open, waits.is_answered) == (False, False, True)
        assert sent == [Delivered()] * number
