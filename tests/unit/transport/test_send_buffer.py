from __future__ import annotations

import pytest

from autoinstrument.guard import errors
from autoinstrument.records import (
    ArtifactLogged,
    ConsoleWritten,
    EventsDropped,
    MetricsLogged,
    Record,
    RunDeleted,
    TagDeleted,
    TagsSet,
)
from autoinstrument.transport import limits
from autoinstrument.transport.budget import Limit
from autoinstrument.transport.deferred_records import DeferredFile, DeferredStart
from autoinstrument.transport.send_buffer import SendBuffer
from tests.unit.transport.worker import point


@pytest.fixture
def buffer() -> SendBuffer:
    buffer = SendBuffer()
    buffer.begin()
    return buffer


def text(words: str, time_ms: int = 0, stream: str = "stdout") -> ConsoleWritten:
    return ConsoleWritten(stream, words, time_ms)


def all_of(buffer: SendBuffer) -> list[Record]:
    records = []
    while buffer:
        records += buffer.take_batch()
    return records


def test_records_come_out_in_their_order_and_deferred_ones_are_made(buffer: SendBuffer) -> None:
    given = [point(1), RunDeleted("run"), point(2)]
    for item in (given[0], lambda: given[1], given[2], lambda: None):
        assert buffer.put(item)
    assert all_of(buffer) == given
    assert not buffer


def test_a_message_is_full(buffer: SendBuffer) -> None:
    for step in range(limits.FRAME.records - 1):
        buffer.put(point(step))
    assert not buffer.fills_message
    buffer.put(point(0))
    assert buffer.fills_message
    all_of(buffer)
    buffer.put(point(0)._replace(points=[("loss", 0.5, 0, step) for step in range(5000)]))
    assert buffer.fills_message, "by its bytes"


def test_first_and_last(buffer: SendBuffer) -> None:
    records = [RunDeleted(name) for name in "1234"]
    buffer.put(records[2])
    buffer.put_first(records[:2])
    buffer.put_last(records[3:])
    assert all_of(buffer) == records


@pytest.mark.swallows("describing a run: ValueError")
def test_an_error_of_a_deferred_record_does_not_block_the_others(buffer: SendBuffer) -> None:
    def fails() -> Record:
        raise ValueError("no store")

    before = errors["describing a run"]
    buffer.put(fails)
    buffer.put(point(1))
    assert all_of(buffer) == [point(1)]
    assert errors["describing a run"] == before + 1


@pytest.mark.parametrize("limit", [Limit(3, 10**6), Limit(1000, 1200)], ids=["records", "bytes"])
def test_points_that_do_not_fit_are_counted_and_there_is_room_again(
    buffer: SendBuffer, monkeypatch: pytest.MonkeyPatch, limit: Limit
) -> None:
    monkeypatch.setattr(limits, "SEND_RECORDS", limit)
    buffer = SendBuffer()
    buffer.begin()
    assert [buffer.put(point(step)) for step in range(5)] == [True, True, True, False, False]
    assert buffer.put(TagDeleted("run", "key")), "few, and never left out"
    batch = buffer.take_batch()
    points = [point(step).points[0] for step in range(3)]
    assert batch == [MetricsLogged("run", points), TagDeleted("run", "key"), EventsDropped("run", 2)]
    assert buffer.put(point(5))
    assert buffer.take_batch() == [point(5)]


def test_a_single_point_is_put_in_as_any_other_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_RECORDS", Limit(3, 10**6))
    buffer = SendBuffer()
    buffer.begin()
    points = [point(step).points[0] for step in range(5)]
    assert buffer.put(point(0))
    for each in points[1:]:
        assert not buffer.put_point("run", each), "not enough for a message"
    assert all_of(buffer) == [MetricsLogged("run", points[:3]), EventsDropped("run", 2)]
    buffer.put_point("run", points[3])
    assert all_of(buffer) == [MetricsLogged("run", points[3:4])]


def test_single_points_fill_a_message(buffer: SendBuffer) -> None:
    fills = [buffer.put_point("run", point(step).points[0]) for step in range(limits.FRAME.records + 1)]
    assert fills == [False] * (limits.FRAME.records - 1) + [True, True]


def test_a_batch_is_one_small_message(buffer: SendBuffer) -> None:
    for number in range(limits.FRAME.records + 1):
        buffer.put(point(0, run_id=f"run {number}"))
    assert len(buffer.take_batch()) == limits.FRAME.records
    assert len(buffer.take_batch()) == 1
    for _ in range(3):
        buffer.put(point(0)._replace(points=point(0).points * 1000))
    (record,) = buffer.take_batch()
    assert len(record.points) == 1000, "one of them is over the bytes of a message"


def test_contents_have_room_of_their_own_and_count_for_a_message(
    buffer: SendBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_CONTENTS", Limit(10, 1000))
    buffer = SendBuffer()

    def make(content: bytes) -> Record:
        return ArtifactLogged("run", "a", len(content), 0, content.decode())

    assert buffer.has_room(1000)
    buffer.put(DeferredFile(b"x" * 600, make))
    assert not buffer.has_room(401)
    (artifact,) = buffer.take_batch()
    assert isinstance(artifact, ArtifactLogged)
    assert artifact.content == "x" * 600
    assert buffer.has_room(1000)


def test_text_is_joined_that_was_written_piece_by_piece(buffer: SendBuffer) -> None:
    for piece in (text("a"), text("\n", 5), text("late", 500), text("other", 501, "stderr")):
        buffer.put(piece)
    assert all_of(buffer) == [text("a\n"), text("late", 500), text("other", 501, "stderr")]


def test_text_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_CONSOLE", Limit(1000, 100))
    buffer = SendBuffer()
    buffer.begin()
    assert [buffer.put(text("x" * 60)) for _ in range(3)] == [True, True, False]
    assert buffer.put(point(1)), "text takes no room from points"
    all_of(buffer)
    assert buffer.put(text("x" * 60))


def test_before_a_run_the_latest_text_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_EARLY_CONSOLE", Limit(1000, 100))
    buffer = SendBuffer()
    for number in range(9):
        assert buffer.put(text(str(number) * 40, 100 * number))
    assert [record.text[0] for record in all_of(buffer) if isinstance(record, ConsoleWritten)] == ["6", "7", "8"]


def test_without_a_worker_only_starts_are_made(buffer: SendBuffer) -> None:
    made = []
    buffer.put(lambda: made.append("another"))
    buffer.put(DeferredStart(lambda: made.append("start")))
    buffer.put(point(1))
    buffer.make_starts()
    assert made == ["start"]
    assert not buffer


def test_points_of_a_run_that_follow_each_other_are_one_record(buffer: SendBuffer) -> None:
    a, b = (("loss", 0.5, 1_700_000_000_000, step) for step in range(2))
    for record in (MetricsLogged("one", [a]), MetricsLogged("one", [b]), MetricsLogged("two", [a])):
        buffer.put(record)
    buffer.put(TagsSet("two", {"k": "v"}))
    buffer.put(MetricsLogged("two", [b]))
    assert buffer.take_batch() == [
        MetricsLogged("one", [a, b]),
        MetricsLogged("two", [a]),
        TagsSet("two", {"k": "v"}),
        MetricsLogged("two", [b]),
    ]
