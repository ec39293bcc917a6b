"""Methods put over those of a stream object, so that what is written to the stream is captured.

Type and identity of the stream stay, and removing a shadow leaves no trace. Where streams write to each other, the
outermost shadow captures, and those below it stay silent.
"""

from __future__ import annotations

import codecs
import threading
import weakref
from collections.abc import Callable
from typing import Any

from autoinstrument import notebook_output
from autoinstrument.capture import streams
from autoinstrument.capture.streams import quietly
from autoinstrument.guard import is_of_handler
from autoinstrument.tracebacks import users_call

_MOST_BYTES = 2**20
"""Bytes of one `write` that are decoded; a script may send a file of any size to `sys.stdout.buffer`."""
_LONGEST = 1000
"""Characters that are kept back until it is known whether a stream passes them on."""


class _Local(threading.local):
    busy = False
    """A shadow that captures is being called: those below it stay silent, as they do for what the listener writes."""
    count = 0
    """How often text was handed on."""


class Listener:
    """The state that all shadows of a console share.

    Attributes:
        wanted: text is captured.
        look: called before bytes are decoded; the console may have other streams by then.
        local: this thread's state.
    """

    __slots__ = ("_write", "local", "look", "wanted")

    def __init__(self, write: Callable[[str, str], None], look: Callable[[], None]) -> None:
        """`write` gets the console's stream ("stdout" or "stderr") and the text."""
        self._write = write
        self.look = look
        self.local = _Local()
        self.wanted = False

    def listen(self, *, wanted: bool) -> None:
        """Have text handed on from now on, or no more."""
        self.wanted = wanted

    def hand_on(self, name: str, text: str) -> None:
        """Hand text on; raises what the listener raises."""
        local = self.local
        local.count += 1
        local.busy = True
        try:
            self._write(name, text)
        finally:
            local.busy = False


class Shadow:
    """Methods on one stream object, over whatever was there.

    The object stays alive as long as its shadow, unless a kind of shadow says otherwise.

    Attributes:
        stream: a weak reference to the object.
        name: the console's stream that the object stands for.
    """

    def __init__(self, stream: Any, name: str, listener: Listener) -> None:
        self.stream = streams.reference(stream)
        self.name = name
        self._listener = listener
        self._before: dict[str, Any] = {}
        self._methods = self._over(stream)
        for method, shadow in self._methods.items():
            self._before[method] = vars(stream).get(method) if hasattr(stream, "__dict__") else None
            setattr(stream, method, shadow)

    def _over(self, stream: Any) -> dict[str, Callable[..., Any]]:
        """Return the methods that are put over those of the stream."""
        raise NotImplementedError

    def is_on_top(self) -> bool:
        """Return True if the shadow's methods are the ones that are called."""
        stream = self.stream()
        return stream is not None and all(
            vars(stream).get(method) is shadow for method, shadow in self._methods.items()
        )

    def is_over(self, current: list[Any]) -> bool:
        """Return True if the stream is closed, or leads to the console no more; `current` are those that `sys` has."""
        with quietly():
            return bool(self.stream().closed)
        return True

    def remove(self) -> None:
        """Leave the stream as it was found."""
        stream = self.stream()
        for method, shadow in self._methods.items():
            with quietly():
                # Other code may have put its method over the shadow's: it stays, and the shadow stays silent below it.
                if vars(stream).get(method) is shadow:
                    if self._before[method] is None:
                        delattr(stream, method)
                    else:
                        setattr(stream, method, self._before[method])


class _Standard(Shadow):
    """A standard stream: what is written to it is captured after it was written, and only here."""

    def _over(self, stream: Any) -> dict[str, Callable[..., Any]]:
        original, listener, local = stream.write, self._listener, self._listener.local

        def write(data: Any, /) -> Any:
            with users_call:
                if local.busy:
                    return original(data)
                local.busy = True
                try:
                    written = original(data)
                finally:
                    local.busy = False
            if listener.wanted:
                try:
                    if text := self._text(data, written):
                        listener.hand_on(self.name, text)
                except Exception as error:  # the data has been written: for the writer all is well
                    if is_of_handler(error):
                        raise
            return written

        return {"write": write}

    def _text(self, data: Any, written: Any) -> str:
        """Return the text of what was written; `written` is what the stream's own `write` returned."""
        raise NotImplementedError


class BufferShadow(_Standard):
    """Over the binary stream below the text streams of the console."""

    _encoding = ""
    _decoder: codecs.IncrementalDecoder
    _may_be_ascii = False
    """ASCII bytes can be taken as they are: the encoding has them, and the last text did not end within a character."""

    def _text(self, data: Any, written: Any) -> str:
        self._listener.look()
        if type(data) is not bytes or not written == len(data) <= _MOST_BYTES:
            # A raw stream (`python -u`) may have taken a part of it.
            data = bytes(memoryview(data).cast("B")[: min(written or 0, _MOST_BYTES)])
        return self._decode(data)

    def _decode(self, data: bytes) -> str:
        """Return the text, in the encoding of the text stream that is in use."""
        encoding = getattr(streams.current(self.name), "encoding", None) or "utf-8"
        if encoding != self._encoding:
            # An ASCII stream passes on bytes that are not ASCII (`surrogateescape`); they are UTF-8 almost always.
            name = codecs.lookup(encoding).name.replace("ascii", "utf-8")
            self._encoding, self._decoder = encoding, codecs.getincrementaldecoder(name)("replace")
            self._may_be_ascii = "x".encode(name) == b"x"
        if self._may_be_ascii and data.isascii():
            return data.decode("ascii")
        text = self._decoder.decode(data)
        self._may_be_ascii = "x".encode(self._encoding) == b"x" and not self._decoder.getstate()[0]
        return text


class TextShadow(_Standard):
    """Over a block-buffered text stream, whose text is captured before its buffer gets it."""

    def _over(self, stream: Any) -> dict[str, Callable[..., Any]]:
        original, local = stream.flush, self._listener.local

        def flush() -> Any:
            with users_call:
                # What goes to the buffer now was captured when it was written.
                if local.busy:
                    return original()
                local.busy = True
                try:
                    return original()
                finally:
                    local.busy = False

        return {**super()._over(stream), "flush": flush}

    def _text(self, data: Any, written: Any) -> str:
        text: str = data
        return text


class OtherShadow(Shadow):
    """Over a stream of another class, which is the console itself, or passes what it is given to a stream that is.

    It is free to go when the script lets go of it: it may hold a file that is closed, and so is written, with it.
    """

    _kept: str | None = ""
    """What was written until it is known that the stream passes nothing on; None from then on."""

    def _over(self, stream: Any) -> dict[str, Callable[..., Any]]:
        listener, local = self._listener, self._listener.local
        original = vars(stream).get("write") or _unbound(stream)
        passes_on = False
        if notebook_output.is_page(stream):
            self._kept = None

        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal passes_on
            before = local.count
            with users_call:
                result = original(*args, **kwargs)
            if local.busy or passes_on or not listener.wanted:
                return result
            try:
                text = args[0] if args else next(iter(kwargs.values()))
                if local.count != before:
                    passes_on, self._kept = True, ""
                elif text and isinstance(text, str):
                    if self._kept is not None:
                        text = self._kept = self._kept + text
                        if "\n" not in text and len(text) < _LONGEST:  # it may gather a line first
                            return result
                        self._kept = None
                    listener.hand_on(self.name, text)
            except Exception as error:  # as above
                if is_of_handler(error):
                    raise
            return result

        return {"write": write}

    def remove(self) -> None:
        """Leave the stream as it was found, and hand on what was kept back."""
        if self._kept and self._listener.wanted:
            with quietly():
                self._listener.hand_on(self.name, self._kept)
        super().remove()

    def is_over(self, current: list[Any]) -> bool:
        """Return True if the stream stands in `sys` no more."""
        stream = self.stream()
        return stream is None or not any(each is stream for each in current)


def _unbound(stream: Any) -> Callable[..., Any]:
    """Return the `write` of the stream's type, for this stream, which it does not keep alive."""
    write, reference = type(stream).write, weakref.ref(stream)

    def bound(*args: Any, **kwargs: Any) -> Any:
        with users_call:
            return write(reference(), *args, **kwargs)

    return bound
