from __future__ import annotations

import io
import signal
import sys

import pytest

from autoinstrument.capture.shadows import BufferShadow, Listener, OtherShadow, TextShadow
from autoinstrument.capture.streams import nothing


class Captured(list[tuple[str, str]]):
    """The text that a listener got."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = Listener(lambda name, text: self.append((name, text)), nothing)
        self.listener.wanted = True


class Text(io.StringIO):
    """A text stream that takes a method."""


class Binary(io.BytesIO):
    """A binary stream that takes a method, as those of files do."""


@pytest.fixture
def captured() -> Captured:
    return Captured()


def test_bytes_for_a_buffer_are_decoded(captured: Captured) -> None:
    binary = Binary()
    shadow = BufferShadow(binary, "stdout", captured.listener)
    for piece in (b"abc", "é".encode()[:1], "é".encode()[1:], memoryview(b"view")):
        assert binary.write(piece) == len(piece)
    assert captured == [("stdout", "abc"), ("stdout", "é"), ("stdout", "view")]
    assert binary.getvalue() == "abcéview".encode()
    shadow.remove()
    assert "write" not in vars(binary)
    binary.write(b"more")
    assert len(captured) == 3


def test_the_outermost_stream_captures(captured: Captured) -> None:
    """Not the buffer below it, into which its text goes now or at a flush."""
    binary = Binary()
    text = io.TextIOWrapper(binary, "utf-8")
    TextShadow(text, "stdout", captured.listener)
    BufferShadow(binary, "stdout", captured.listener)
    text.write("one")
    text.flush()
    binary.write(b"two")
    assert captured == [("stdout", "one"), ("stdout", "two")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("kind", ["binary", "other"])
def test_what_a_signal_handler_raises_meanwhile_is_the_writers(kind: str) -> None:
    """As the end of a time limit, or of a job that is preempted."""

    def handle(number: int, frame: object) -> None:
        raise TimeoutError

    listener = Listener(lambda name, text: signal.raise_signal(signal.SIGUSR1), nothing)
    listener.wanted = True
    binary, other = Binary(), Text()
    BufferShadow(binary, "stdout", listener)
    OtherShadow(other, "stdout", listener)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(TimeoutError):
            binary.write(b"text\n") if kind == "binary" else other.write("text\n")
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_listener_that_raises_or_prints_disturbs_no_writer() -> None:
    binary = Binary()

    def listen(name: str, text: str) -> None:
        binary.write(b"from the listener")
        raise ValueError(text)

    listener = Listener(listen, nothing)
    listener.wanted = True
    BufferShadow(binary, "stdout", listener)
    assert binary.write(b"abc") == 3
    assert binary.getvalue() == b"abcfrom the listener"


def test_the_users_exception_reaches_the_user(captured: Captured) -> None:
    binary = Binary()
    BufferShadow(binary, "stdout", captured.listener)
    binary.close()
    with pytest.raises(ValueError, match="closed"):
        binary.write(b"abc")
    assert captured == []
    assert not captured.listener.local.busy


def test_a_stream_that_passes_on_is_captured_once(captured: Captured) -> None:
    class Tee:
        closed = False

        def __init__(self, below: Binary) -> None:
            self.below = below

        def write(self, text: str) -> None:
            self.below.write(text.encode())

    binary = Binary()
    tee = Tee(binary)
    BufferShadow(binary, "stdout", captured.listener)
    OtherShadow(tee, "stdout", captured.listener)
    tee.write("one\n")
    tee.write("two\n")
    assert captured == [("stdout", "one\n"), ("stdout", "two\n")]


def test_a_stream_that_is_the_console_itself(captured: Captured) -> None:
    class Widget:
        def write(self, text: str) -> None:
            pass

    widget = Widget()
    shadow = OtherShadow(widget, "stderr", captured.listener)
    widget.write("half a ")
    assert captured == [], "it may gather a line first, and pass that on"
    widget.write("line\n")
    widget.write("more")
    assert captured == [("stderr", "half a line\n"), ("stderr", "more")]
    assert not shadow.is_over([widget])
    assert shadow.is_over([None])


def test_a_method_over_the_shadows_stays(captured: Captured) -> None:
    binary = Binary()
    shadow = BufferShadow(binary, "stdout", captured.listener)
    assert shadow.is_on_top()
    over = binary.write
    binary.write = lambda data: over(data)  # type: ignore[method-assign]
    assert not shadow.is_on_top()
    shadow.remove()
    assert "write" in vars(binary)
