"""A wrapped method reports to the agent after it has succeeded, and only what the training calls."""

from __future__ import annotations

from typing import Any

import pytest

from autoinstrument.agent import process_agent
from autoinstrument.guard import own_calls
from autoinstrument.integrations.observing import complete_later, watched
from autoinstrument.records import EventsDropped
from tests.unit.integrations.conftest import Recorder


def method(run_id: str, value: int = 0) -> int:
    if value < 0:
        raise ValueError("negative")
    return value


def observe(the_agent: Any, client: Any, call: dict[str, Any], result: Any) -> None:
    the_agent.post(("seen", client, call, result))


AROUND = watched(observe, "run_id", "value")
PIECEWISE = watched(observe, "run_id", "value", refused=complete_later)


def test_arguments_are_reported_by_name_with_the_result(recorder: Recorder) -> None:
    assert AROUND(method, "client", ("r", 1), {}) == 1
    assert AROUND(method, "client", ("r",), {"value": 2}) == 2
    calls = [{"run_id": "r", "value": 1}, {"run_id": "r", "value": 2}]
    assert recorder.records == [("seen", "client", call, call["value"]) for call in calls]


def test_a_failure_is_the_callers_and_not_reported(recorder: Recorder) -> None:
    recorder.runs.append("r")
    with pytest.raises(ValueError, match="negative"):
        AROUND(method, "client", ("r", -1), {})
    assert recorder.records == []


@pytest.mark.parametrize(("run_id", "records"), [("r", [EventsDropped("r", 0)]), ("unknown", [])])
def test_a_failure_half_way_has_a_known_run_read_at_its_end(
    recorder: Recorder, run_id: str, records: list[Any]
) -> None:
    recorder.runs.append("r")
    with pytest.raises(ValueError, match="negative"):
        PIECEWISE(method, "client", (run_id, -1), {})
    assert recorder.records == records


def test_the_agents_own_calls_are_not_reported(recorder: Recorder) -> None:
    with own_calls():
        assert AROUND(method, "client", ("r", 1), {}) == 1
    assert recorder.records == []


def test_without_an_agent_the_call_is_the_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_agent, "_agent", None)
    monkeypatch.setattr(process_agent, "_refused", True)
    assert AROUND(method, "client", ("r", 1), {}) == 1
