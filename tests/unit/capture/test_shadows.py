from __future__ import annotations

import io

import pytest

from autoinstrument.capture.shadows import BufferShadow, Listener, OtherShadow, TextShadow
from autoinstrument.capture.streams import nothing


class Heard(list[tuple[str, str]]):
    """What a listener was given."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = Listener(lambda name, text: self.append((name, text)), nothing)
        self.listener.wanted = True


class Binary(io.BytesIO):
    """A binary stream that takes a method, as those of files do."""


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_bytes_for_a_buffer_are_decoded(heard: Heard) -> None:
    binary = Binary()
    shadow = BufferShadow(binary, "stdout", heard.listener)
    for piece in (b"abc", "é".encode()[:1], "é".encode()[1:], memoryview(b"view")):
        assert binary.write(piece) == len(piece)
    assert heard == [("stdout", "abc"), ("stdout", "é"), ("stdout", "view")]
    assert binary.getvalue() == "abcéview".encode()
    shadow.remove()
    assert "write" not in vars(binary)
    binary.write(b"more")
    assert len(heard) == 3


def test_the_outermost_stream_captures(heard: Heard) -> None:
    """Not the buffer below it, into which its text goes now or at a flush."""
    binary = Binary()
    text = io.TextIOWrapper(binary, "utf-8")
    TextShadow(text, "stdout", heard.listener)
    BufferShadow(binary, "stdout", heard.listener)
    text.write("one")
    text.flush()
    binary.write(b"two")
    assert heard == [("stdout", "one"), ("stdout", "two")]


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


def test_the_users_exception_reaches_the_user(heard: Heard) -> None:
    binary = Binary()
    BufferShadow(binary, "stdout", heard.listener)
    binary.close()
    with pytest.raises(ValueError, match="closed"):
        binary.write(b"abc")
    assert heard == []
    assert not heard.listener.local.busy


def test_a_stream_that_passes_on_is_captured_once(heard: Heard) -> None:
    class Tee:
        closed = False

        def __init__(self, below: Binary) -> None:
            self.below = below

        def write(self, text: str) -> None:
            self.below.write(text.encode())

    binary = Binary()
    tee = Tee(binary)
    BufferShadow(binary, "stdout", heard.listener)
    OtherShadow(tee, "stdout", heard.listener)
    tee.write("one\n")
    tee.write("two\n")
    assert heard == [("stdout", "one\n"), ("stdout", "two\n")]


def test_a_stream_that_is_the_console_itself(heard: Heard) -> None:
    class Widget:
        def write(self, text: str) -> None:
            pass

    widget = Widget()
    shadow = OtherShadow(widget, "stderr", heard.listener)
    widget.write("half a ")
    assert heard == [], "it may gather a line first, and pass that on"
    widget.write("line\n")
    widget.write("more")
    assert heard == [("stderr", "half a line\n"), ("stderr", "more")]
    assert not shadow.is_over([widget])
    assert shadow.is_over([None])


def test_a_method_over_the_shadows_stays(heard: Heard) -> None:
    binary = Binary()
    shadow = BufferShadow(binary, "stdout", heard.listener)
    assert shadow.is_on_top()
    over = binary.write
    binary.write = lambda data: over(data)  # type: ignore[method-assign]
    assert not shadow.is_on_top()
    shadow.remove()
    assert "write" in vars(binary)
