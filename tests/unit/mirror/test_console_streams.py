"""Text of several processes becomes lines of one console; each has its own unfinished line, and its own bars."""

from __future__ import annotations

import pytest

from autoinstrument.mirror.kinds import console_streams
from autoinstrument.mirror.kinds.console_streams import ConsoleStreams, StreamLine


def texts(lines: list[StreamLine]) -> list[tuple[str, str]]:
    return [(stream, line.text) for stream, line in lines]


def test_lines_of_two_processes_do_not_mix() -> None:
    streams = ConsoleStreams()
    assert streams.feed("", "stdout", "own, ", 1) == []
    assert texts(streams.feed("rank 1", "stdout", "its line\n10 %", 2)) == [("stdout", "[rank 1] its line")]
    assert texts(streams.feed("", "stdout", "continued\n", 3)) == [("stdout", "own, continued")]
    assert streams.feed("rank 1", "stdout", "\r20 %", 4) == []
    assert texts(streams.feed("rank 1", "stderr", "error\n", 5)) == [("stderr", "[rank 1] error")]
    assert texts(streams.leave("rank 1", 6)) == [("stdout", "[rank 1] 20 %")]
    assert streams.flush(7) == []


def test_a_bar_of_another_process_is_shown_now_and_then() -> None:
    streams = ConsoleStreams()
    streams.feed("rank 1", "stderr", "\r10 %", 0)
    streams.due(1)
    assert texts(streams.due(100_000)) in ([("stderr", "[rank 1] 10 %")], [])
    assert texts(streams.flush(200_000)) in ([("stderr", "[rank 1] 10 %")], [])


def test_pools_that_replace_their_processes_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that has been silent the longest gives way, and its unfinished line is kept."""
    monkeypatch.setattr(console_streams, "_MOST", 2)
    streams = ConsoleStreams()
    for name in ("a", "b", "a"):
        streams.feed(name, "stdout", f"{name} ", 1)
    assert texts(streams.feed("c", "stdout", "c", 2)) == [("stdout", "[b] b ")]
    assert texts(streams.flush(3)) == [("stdout", "[a] a a "), ("stdout", "[c] c")]
