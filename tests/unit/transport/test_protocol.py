"""Records survive the socket, however it cuts them; tests of readers have bytes that are not records."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoinstrument.records import ConsoleWritten, MetricsLogged, Record, TagsSet, to_json
from autoinstrument.transport.protocol import Reader, encode, read_all

RECORDS: list[Record] = [
    MetricsLogged("r", [("loss", 0.1, 1_600_000_000_000, -5), ("nan", float("nan"), 0, 2**62)]),
    TagsSet("r", {"ü": "\ud800", "": "🏃"}),
    ConsoleWritten("stdout", "", 0),
]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1))
def test_bytes_may_come_in_any_pieces(sizes: list[int]) -> None:
    data = encode(RECORDS) + encode([]) + encode(RECORDS)
    reader, found, number = Reader(), [], 0
    while data:
        size = sizes[number % len(sizes)]
        piece, data, number = data[:size], data[size:], number + 1
        found += list(reader.feed(piece))
    assert json.dumps([to_json(record) for record in found]) == json.dumps([to_json(r) for r in RECORDS + RECORDS])


def test_a_connection_yields_records_until_it_is_closed() -> None:
    one, other = socket.socketpair()
    with one, other:
        other.sendall(encode(RECORDS[1:]))
        other.close()
        assert list(read_all(one)) == RECORDS[1:]


@pytest.mark.parametrize("value", [{}, "text", [["Unknown", 1]], [[]], [None]])
def test_bytes_that_are_not_a_list_of_records_are_refused(value: object) -> None:
    body = json.dumps(value).encode()
    with pytest.raises(ValueError, match=r".+"):
        list(Reader().feed(len(body).to_bytes(4, "big") + body))


def test_a_length_beyond_all_bounds_is_refused_before_the_bytes_come() -> None:
    with pytest.raises(ValueError, match="over"):
        list(Reader().feed(b"\xff\xff\xff\xff"))
