"""A question about delivery is asked until it is answered, or time is over."""

from __future__ import annotations

import pytest

from autoinstrument.agent import delivery_wait
from autoinstrument.agent.delivery_wait import DeliveryWait
from autoinstrument.records import DeliveryAwaited, RunsDelivered


def test_an_answer_to_an_earlier_question_does_not_count() -> None:
    asked: list[int] = []

    def ask(question: DeliveryAwaited) -> bool:
        asked.append(question.number)
        return True

    wait = DeliveryWait(ask)
    assert not wait.wait(0)
    wait.take(RunsDelivered(1))
    assert not wait.wait(0)
    wait.take(RunsDelivered(3))
    assert wait.wait(0)
    assert asked == [1, 2, 3]


def test_the_question_is_repeated_because_the_worker_may_be_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_wait, "_ASK_S", 0.01)
    asked: list[int] = []

    def ask(question: DeliveryAwaited) -> bool:
        asked.append(question.number)
        if len(asked) == 3:
            wait.take(RunsDelivered(question.number))
        return True

    wait = DeliveryWait(ask)
    assert wait.wait(60)
    assert asked == [1, 1, 1]


def test_there_is_nothing_to_wait_for() -> None:
    assert DeliveryWait(lambda question: False).wait(60)
