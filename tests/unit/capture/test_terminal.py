"""Console text becomes lines: bars fold, colours stay, nothing but what was overwritten is lost."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoinstrument.capture.terminal import Line, TerminalLines


def fold(*pieces, **options):
    folder = TerminalLines(**options)
    lines = [line for piece in pieces for line in folder.feed(piece, 1)]
    return [line.text for line in lines + folder.flush(2)]


def cut(text, places):
    places = sorted({min(place, len(text)) for place in places})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


ANYTHING = st.text(
    st.one_of(st.sampled_from("\n\r\r\n\x1b[]0123;mAKBJ \x07\\ab"), st.characters(codec="utf-8")), max_size=200
)
PIECES = st.lists(
    st.sampled_from(["\n", "\r", "\r\n", "a", "bar 10%", "   ", "\x1b[A", "\x1b[2K", "\x1b[K", "\x1b[31mred\x1b[0m",
                     "\x1b]0;title\x07", "\x1b[", "\x1b", "x" * 30]),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.one_of(ANYTHING, PIECES), st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=400, deadline=None)
def test_any_cutting_gives_the_same_lines(text, places):
    assert fold(*cut(text, places), longest=50) == fold(text, longest=50)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n"), max_size=300), st.data())
@settings(max_examples=200, deadline=None)
def test_plain_text_is_kept_exactly(text, data):
    pieces = cut(text, data.draw(st.lists(st.integers(0, 300))))
    lines = text.split("\n")
    assert fold(*pieces) == lines[:-1] + ([lines[-1]] if lines[-1] else [])


@given(st.lists(st.lists(st.text("ab", max_size=4), min_size=1, max_size=5), max_size=6))
@settings(max_examples=200, deadline=None)
def test_only_overwritten_text_is_lost(rows):
    text = "".join("\r".join(states) + "\n" for states in rows)
    assert fold(text) == [next((state for state in reversed(states) if state), "") for states in rows]


@given(st.one_of(ANYTHING, PIECES), st.lists(st.integers(0, 400), max_size=12), st.integers(10, 60))
@settings(max_examples=200, deadline=None)
def test_lines_and_memory_are_bounded(text, places, longest):
    folder = TerminalLines(longest=longest)
    for piece in cut(text, places):
        for line in folder.feed(piece, 1):
            assert len(line.text) <= longest
        assert sum(len(row.text) for row in folder._rows) <= longest * len(folder._rows)
        assert len(folder._rows) <= 64
        assert len(folder._tail) <= 2100


@given(st.one_of(ANYTHING, PIECES))
@settings(max_examples=200, deadline=None)
def test_no_control_characters_but_colours_are_kept(text):
    for line in fold(text):
        rest = line.replace("\x1b[31m", "").replace("\x1b[0m", "")
        assert all(part.split("m")[0].strip("0123456789;:") == "" for part in rest.split("\x1b[")[1:])
        assert not set(rest.replace("\x1b[", "")) & set("\r\n\x07\x1b")


def test_a_bar_is_its_last_state():
    assert fold("0%\r", "50%", "\r100%\n", "done\n") == ["100%", "done"]


def test_carriage_return_before_newline_is_part_of_it():
    assert fold("a\r\nb\r", "\nc\r\r\n") == ["a", "b", "c"]


def test_colours_stay_and_movements_go():
    assert fold("\x1b[31mred\x1b[0m \x1b[?25lhidden\x1b[5;5H\x1b]8;;http://x\x1b\\link\x1b]8;;\x07\n") == [
        "\x1b[31mred\x1b[0m hiddenlink"
    ]


def test_a_stray_escape_loses_no_text():
    assert fold("a\x1b\nb\x1b[\nc\x1b]0;no end\nd\n") == ["a", "b[", "c]0;no end", "d"]


def test_backspaces_before_a_redraw():
    """Keras goes back by backspaces before it draws the bar again."""
    assert fold("1/2", "\b" * 3, "\r2/2", "\n") == ["2/2"]


def test_long_lines_are_cut():
    assert fold("abcdefgh\n", longest=3) == ["abc", "def", "gh"]


def test_a_long_line_takes_time_by_its_length():
    """A script may print a picture or a data set in one line, and the worker's loop has other runs to serve."""

    def took_s(characters: int) -> float:
        text, began = "x" * characters, time.process_time()
        assert sum(len(line.text) for line in TerminalLines().feed(f"{text}\n", 0)) == characters
        return time.process_time() - began

    once, eight_times = (min(took_s(characters) for _ in range(3)) for characters in (2_000_000, 16_000_000))
    assert eight_times < 24 * once


def test_a_stream_without_newline_is_given_out_in_pieces():
    folder = TerminalLines(longest=100)
    lines = [line for _ in range(1000) for line in folder.feed("." * 10, 1)]
    assert sum(len(line.text) for line in lines) >= 9900


def test_a_line_has_the_time_of_its_end():
    folder = TerminalLines()
    assert folder.feed("a", 5) == []
    assert folder.feed("b\nc", 8) == [Line("ab", 8)]
    assert folder.flush(9) == [Line("c", 9)]
    assert folder.flush(10) == []


def test_a_long_bar_appears_now_and_then():
    folder = TerminalLines(every_ms=10_000)
    lines = [line for second in range(60) for line in folder.feed(f"\r{second}s", second * 1000)]
    assert [line.text for line in lines] == ["9s", "19s", "29s", "39s", "49s"]
    assert [line.text for line in folder.feed("\n", 60_000)] == ["59s"]


def test_an_unfinished_line_appears_after_a_while_and_not_twice():
    folder = TerminalLines(every_ms=10_000)
    assert folder.feed("Loading...", 0) == []
    assert folder.due(5_000) == []
    assert folder.due(10_000) == [Line("Loading...", 10_000)]
    assert folder.due(30_000) == []
    assert folder.feed(" done\n", 31_000) == [Line(" done", 31_000)]


def test_a_state_that_was_shown_is_not_repeated_at_the_end():
    folder = TerminalLines(every_ms=10_000)
    folder.feed("\r90%", 0)
    folder.feed("\r100%", 1)
    assert folder.due(10_001) == [Line("100%", 10_001)]
    assert folder.feed("\n", 11_000) == []
    assert folder.due(60_000) == []


def test_bytes_that_are_not_text_are_kept():
    assert fold("a\udc80b\n") == ["a\udc80b"]


def test_nested_bars_leave_one_line_each():
    tqdm = pytest.importorskip("tqdm")
    stream = io.StringIO()
    for _ in tqdm.trange(3, file=stream, desc="epochs", mininterval=0, ascii=True):
        for _ in tqdm.trange(4, file=stream, desc="batches", mininterval=0, ascii=True, position=1, leave=False):
            pass
        tqdm.tqdm.write("epoch done", file=stream)
    lines = fold(stream.getvalue())
    assert lines.count("epoch done") == 3
    assert len([line for line in lines if line.startswith("epochs: 100%")]) == 1
    assert len(lines) < 25 < stream.getvalue().count("\r")


def test_a_bar_that_is_taken_away_leaves_nothing():
    assert fold("\r50%", "\r100%", "\r    \r") == []


def test_rich_redraws_by_moving_up_and_erasing():
    redraw = "\r\x1b[2K\x1b[1A\x1b[2K"
    assert fold("one 0%\ntwo 0%", redraw, "one 9%\ntwo 9%\n", "end\n") == ["one 0%", "one 9%", "two 9%", "end"]
