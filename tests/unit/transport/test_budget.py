from __future__ import annotations

import sys

import pytest

from autoinstrument.records import (
    ArtifactLogged,
    ConsoleWritten,
    MetricsLogged,
    ParamsLogged,
    Record,
    RunDeleted,
    TagsSet,
)
from autoinstrument.transport import limits
from autoinstrument.transport.budget import Budget, Limit, content_weight, items, weight


def size_of(value: object) -> int:
    """Return the bytes of a value in this interpreter, with all that it holds."""
    found: dict[int, int] = {}

    def look(value: object) -> None:
        if id(value) not in found:
            found[id(value)] = sys.getsizeof(value)
            if isinstance(value, dict):
                value = [*value.keys(), *value.values()]
            for below in value if isinstance(value, (tuple, list)) else ():
                look(below)

    look(value)
    return sum(found.values())


@pytest.mark.parametrize(
    "record",
    [
        MetricsLogged("run", [("loss", 0.123 + number, 1_700_000_000_000 + number, number) for number in range(100)]),
        ParamsLogged("run", [(f"name {number}", f"value {number}", "str") for number in range(100)]),
        TagsSet("run", {f"name {number}": f"value {number}" for number in range(100)}),
        MetricsLogged("run", [("loss", 0.123, 1_700_000_000_000, 1000)]),
    ],
    ids=["points", "parameters", "tags", "one point"],
)
def test_the_weight_of_a_record_is_its_memory_or_a_little_more(record: Record) -> None:
    assert size_of(record) < weight(record) < 2 * size_of(record)


def test_the_weight_of_text_and_contents_is_their_length() -> None:
    assert weight(ConsoleWritten("stdout", "x" * 1000, 0)) == 1000
    artifact = ArtifactLogged("run", "a.txt", 3, 0, "eHh4")
    assert content_weight(artifact) == 4
    assert weight(artifact) == weight(artifact._replace(content=None))
    assert content_weight(artifact._replace(content=None)) == content_weight(RunDeleted("run")) == 0


def test_items_are_points_parameters_and_tags() -> None:
    assert items(MetricsLogged("run", [("loss", 0.0, 0, 0)] * 3)) == 3
    assert items(TagsSet("run", {"a": "1", "b": "2"})) == 2


def test_a_budget_is_full_at_either_limit() -> None:
    budget = Budget(Limit(records=3, bytes=100))
    budget.add(40)
    assert budget.has_room(60)
    assert not budget.has_room(61)
    assert budget.has_room(161 - 1, times=2)
    budget.add(60)
    assert not budget.has_room()
    budget.remove(60)
    budget.add(0)
    budget.add(0)
    assert (budget.records, budget.bytes) == (3, 40)
    assert not budget.has_room(0), "as many records as may be"


def test_a_record_of_any_size_is_taken_below_the_limit() -> None:
    budget = Budget(Limit(records=2, bytes=100))
    assert budget.take(99)
    assert budget.take(1000)
    assert not budget.take(0)
    budget.remove(1000)
    assert budget.take(0)
    assert (budget.records, budget.bytes) == (2, 99)


def test_a_miscount_is_corrected_when_nothing_waits() -> None:
    budget = Budget(Limit(10, 100))
    budget.add(70)
    budget.clear()
    assert (budget.records, budget.bytes) == (0, 0)


def test_each_limit_has_room_for_the_buffers_before_it() -> None:
    """The records that the training process and the receiver may hold fit into the buffers for the server."""
    assert limits.FRAME.bytes < limits.SEND_RECORDS.bytes <= limits.RECEIVED_RECORDS.bytes
    assert limits.SEND_RECORDS.bytes + limits.RECEIVED_RECORDS.bytes <= limits.WAITING_BYTES
    assert 4 * limits.SEND_CONTENTS.bytes // 3 <= limits.RECEIVED_CONTENTS.bytes <= limits.RUN_CONTENTS_BYTES
    assert limits.FRAME.bytes + limits.RECEIVED_CONTENTS.bytes < limits.FRAME_BYTES
    assert weight(MetricsLogged("", [("", 0.0, 0, 0)] * limits.RUN_POINTS)) < limits.WAITING_BYTES
