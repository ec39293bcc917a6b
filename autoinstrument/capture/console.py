"""Capture what the process writes to its console, while the streams stay the objects they were.

The console is what leaves the process through its file descriptors 1 and 2, whichever stream it takes: a script may
put another one into `sys.stdout` (`io.TextIOWrapper(sys.stdout.buffer)`, `open(1, "w")`, a class that writes to a file
too) and go on using the old one. So the `write` of the binary buffer, through which all text streams above it go, is
shadowed on the object itself. Type and identity of the streams are as before, and removing a shadow leaves no trace.

- A block-buffered `sys.__stdout__` is shadowed too: its text is captured when it is written, and not 8 kB later.
- A stream without a descriptor (a notebook, an IDE) is the console itself, unless what it is given arrives at a
  shadowed stream anyway.
- What the script sends elsewhere (`io.StringIO`, a file) is not captured, nor is what is written to the descriptor
  behind Python's back (C libraries, sub-processes, `os.write`).

Python does not tell when `sys.stdout` is replaced. A new stream on the old buffer is captured from its first byte; one
with a buffer of its own (`open(1, "w")`) from the next `look` on.

A print costs 1 to 2 µs more (Python 3.10 to 3.13, without what the listener does).
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from autoinstrument.capture import notebook
from autoinstrument.tracebacks import users_call

_STREAMS = ("stdout", "stderr")
_MOST_BYTES = 2**20
"""Bytes of one `write` that are decoded; a script may send a file of any size to `sys.stdout.buffer`."""
_DEPTH, _MOST_HELD = 2, 20
"""How deep, and among how many attributes, it is looked what a stream of another make writes to."""
_LONGEST = 1000
"""Characters that are kept back until it is known whether a stream passes them on."""


class Console:
    """Hands on what is written to the process's console between `attach` and `detach`.

    Args:
        write: is called with "stdout" or "stderr" and the text, in the thread that wrote, after the text was written.
            It should be quick. What it writes itself is not captured; what it raises is dropped.
        descriptors: the console's file descriptors.
    """

    def __init__(self, write: Callable[[str, str], None], descriptors: tuple[int, int] = (1, 2)) -> None:
        self._listener = _Listener(write, self.look)
        self._descriptors = descriptors
        self._shadows: dict[int, _Shadow] = {}
        """By the `id` of the shadowed object, which the shadow keeps alive."""
        self._seen: tuple[Callable[[], Any], Callable[[], Any]] = (_nothing, _nothing)
        """Weak references to what `sys` held at the last look: a stream that is replaced must be free to go at once."""
        self._lock = threading.Lock()
        self._attached = False
        self._shell: Any = None

    def attach(self) -> None:
        """Begin to capture. A stream that cannot be shadowed is left alone."""
        with self._lock:
            self._attached = self._listener.wanted = True
            self._follow()
            # IPython (9.18) puts a `write` of its own on the streams before each cell and afterwards the one that it
            # found, which undoes a shadow that was put there from within the cell.
            self._shell = notebook.shell()
            if self._shell is not None:
                with _quietly():
                    self._shell.events.register("pre_run_cell", self._cell_begins)

    def look(self) -> None:
        """Follow, if `sys.stdout` or `sys.stderr` is another object than before; costs two comparisons."""
        out, err = self._seen
        try:
            is_same = sys.stdout is out() and sys.stderr is err()
        except AttributeError:  # a script may delete even these
            is_same = False
        if not is_same:
            self.follow()

    def follow(self) -> None:
        """Capture the streams that `sys` has by now; let go of those that are closed, or not needed any more."""
        # Called often and by any thread: nothing to do is the common case, and waiting for it would be wrong.
        if self._attached and self._lock.acquire(blocking=False):
            try:
                if self._attached:
                    self._follow()
            finally:
                self._lock.release()

    def detach(self) -> None:
        """Stop capturing and leave the streams as they were found.

        A stream of the script's own is flushed first: at the end of the process the interpreter would do so too late.
        """
        with self._lock:
            if self._attached:
                self._follow()
                for name in _STREAMS:
                    stream = _current(name)
                    if isinstance(stream, io.TextIOWrapper) and stream is not _original(name):
                        with _quietly():
                            if self._is_ours(stream):
                                stream.flush()
            self._attached = False
            for shadow in self._shadows.values():
                shadow.remove()
            self._listener.wanted = False
            self._shadows.clear()
            if self._shell is not None:
                with _quietly():
                    self._shell.events.unregister("pre_run_cell", self._cell_begins)
                self._shell = None

    def _cell_begins(self, *_: Any) -> None:
        self.follow()

    def _follow(self) -> None:
        current = [_current(name) for name in _STREAMS]
        self._seen = (_reference(current[0]), _reference(current[1]))
        for key, shadow in list(self._shadows.items()):
            if shadow.is_over(current):
                shadow.remove()
                del self._shadows[key]
        is_kernel = any(map(notebook.is_output, current))
        # First the interpreter's own: what stands for both streams keeps its name. A notebook's kernel reads what comes
        # out of those, and writes it to the streams of its own.
        for name, stream in [] if is_kernel else [(name, _original(name)) for name in _STREAMS]:
            self._capture(name, stream)
        for name, stream in zip(_STREAMS, current, strict=True):
            self._capture(name, stream)

    def _capture(self, name: str, stream: Any) -> None:
        with _quietly():  # one of the user's own making may refuse in any way: it is not captured
            if notebook.is_output(stream) or not (
                self._capture_below(name, stream, _DEPTH) or self._is_elsewhere(stream)
            ):
                self._shadow(_Wrapper, stream, name)

    def _capture_below(self, name: str, stream: Any, depth: int) -> bool:
        """Capture what the stream writes to the console's descriptors; return True if it does."""
        descriptor = _descriptor(stream)
        if descriptor is not None and not self._is_console(descriptor):
            return False
        buffer = None if descriptor is None else _buffer(stream)
        if buffer is None:
            held = _held_by(stream) if depth > 0 else []
            return any([self._capture_below(name, each, depth - 1) for each in held])  # noqa: C419  (not the first alone)
        self._shadow(_Buffer, buffer, name)
        if stream is _original(name) and not (stream.line_buffering or stream.write_through):
            self._shadow(_Text, stream, name)
        return True

    def _is_elsewhere(self, stream: Any) -> bool:
        """Return True for a stream to a file or into memory; a text wrapper without a descriptor is one over memory."""
        if stream is None or isinstance(stream, (io.StringIO, io.TextIOWrapper)):
            return True
        descriptor = _descriptor(stream)
        return descriptor is not None and not self._is_console(descriptor)

    def _shadow(self, kind: type[_Shadow], stream: Any, name: str) -> None:
        shadow = self._shadows.get(id(stream))
        if shadow is None or not shadow.is_on_top():
            # Somebody has put their own over ours, or taken it away. Which of the two cannot be seen; both may stay, as
            # the inner one hands nothing on while the outer one is called.
            self._shadows[id(stream)] = kind(stream, shadow.name if shadow else name, self._listener)

    def _is_ours(self, stream: io.TextIOWrapper) -> bool:
        return id(stream.buffer) in self._shadows

    def _is_console(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        for own in self._descriptors:
            with contextlib.suppress(OSError):  # it is closed
                if descriptor == own or os.path.samestat(found, os.fstat(own)):
                    return True
        return False


class _Local(threading.local):
    busy = False
    """A shadow that captures is being called: those below it hand nothing on, nor does what the listener writes."""
    count = 0
    """How often something was handed on."""


class _Listener:
    """What all shadows share."""

    __slots__ = ("_write", "local", "look", "wanted")

    def __init__(self, write: Callable[[str, str], None], look: Callable[[], None]) -> None:
        self._write = write
        self.look = look
        self.local = _Local()
        self.wanted = False

    def hand_on(self, name: str, text: str) -> None:
        """Tell the listener; to be called inside a guard."""
        local = self.local
        local.count += 1
        local.busy = True
        try:
            self._write(name, text)
        finally:
            local.busy = False


class _Shadow:
    """Methods of ours on one stream object, over whatever was there.

    The object stays alive as long as its shadow, unless a kind of shadow says otherwise.

    Attributes:
        name: the console's stream that the object stands for.
    """

    def __init__(self, stream: Any, name: str, listener: _Listener) -> None:
        self.stream = _reference(stream)
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
        """Return True if our methods are the ones that are called."""
        stream = self.stream()
        return stream is not None and all(
            vars(stream).get(method) is shadow for method, shadow in self._methods.items()
        )

    def is_over(self, current: list[Any]) -> bool:
        """Return True if nothing will be written there any more, or not to the console."""
        with _quietly():
            return bool(self.stream().closed)
        return True

    def remove(self) -> None:
        """Leave the stream as it was found."""
        stream = self.stream()
        for method, shadow in self._methods.items():
            with _quietly():
                # Somebody else may have put a shadow over ours: theirs stays, and ours hands nothing on any more.
                if vars(stream).get(method) is shadow:
                    if self._before[method] is None:
                        delattr(stream, method)
                    else:
                        setattr(stream, method, self._before[method])


class _Buffer(_Shadow):
    """The binary stream below the text streams of the console."""

    _encoding = ""
    _decoder: codecs.IncrementalDecoder
    _may_be_ascii = False
    """ASCII is what it looks like: the encoding has it, and the last text did not end within a character."""

    def _decode(self, data: bytes) -> str:
        """Return the text, in the encoding of the text stream that is in use."""
        encoding = getattr(_current(self.name), "encoding", None) or "utf-8"
        if encoding != self._encoding:
            # An ASCII stream passes on bytes that are no ASCII (`surrogateescape`); they are UTF-8 almost always.
            name = codecs.lookup(encoding).name.replace("ascii", "utf-8")
            self._encoding, self._decoder = encoding, codecs.getincrementaldecoder(name)("replace")
            self._may_be_ascii = "x".encode(name) == b"x"
        if self._may_be_ascii and data.isascii():
            return data.decode("ascii")
        text = self._decoder.decode(data)
        self._may_be_ascii = "x".encode(self._encoding) == b"x" and not self._decoder.getstate()[0]
        return text

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
                    listener.look()
                    if type(data) is not bytes or not written == len(data) <= _MOST_BYTES:
                        # A raw stream (`python -u`) may have taken a part of it.
                        data = bytes(memoryview(data).cast("B")[: min(written or 0, _MOST_BYTES)])
                    if text := self._decode(data):
                        listener.hand_on(self.name, text)
                except Exception:  # noqa: S110 - the data has been written: for the writer all is well
                    pass
            return written

        return {"write": write}


class _Text(_Shadow):
    """A block-buffered text stream, whose text is captured before its buffer gets it."""

    def _over(self, stream: Any) -> dict[str, Callable[..., Any]]:
        original, flush_original = stream.write, stream.flush
        listener, local = self._listener, self._listener.local

        def write(text: Any, /) -> Any:
            with users_call:
                if local.busy:
                    return original(text)
                local.busy = True
                try:
                    result = original(text)
                finally:
                    local.busy = False
            if listener.wanted and text:
                with _quietly():
                    listener.hand_on(self.name, text)
            return result

        def flush() -> Any:
            with users_call:
                # What goes to the buffer now has been handed on.
                if local.busy:
                    return flush_original()
                local.busy = True
                try:
                    return flush_original()
                finally:
                    local.busy = False

        return {"write": write, "flush": flush}


class _Wrapper(_Shadow):
    """A stream of another make, which is the console itself or passes on what it is given to a stream that is.

    It is free to go when the script lets go of it: it may hold a file that is closed, and so is written, with it.
    """

    _kept: str | None = ""
    """What was written until it is known that the stream passes nothing on; None from then on."""

    def _over(self, stream: Any) -> dict[str, Callable[..., Any]]:
        listener, local = self._listener, self._listener.local
        original = vars(stream).get("write") or _unbound(stream)
        passes_on = False
        if notebook.is_output(stream):
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
            except Exception:  # noqa: S110 - as above
                pass
            return result

        return {"write": write}

    def remove(self) -> None:
        """Leave the stream as it was found."""
        if self._kept and self._listener.wanted:
            with _quietly():
                self._listener.hand_on(self.name, self._kept)
        super().remove()

    def is_over(self, current: list[Any]) -> bool:
        """Return True if it stands in `sys` no more."""
        stream = self.stream()
        return stream is None or not any(each is stream for each in current)


def _unbound(stream: Any) -> Callable[..., Any]:
    """Return the `write` of the stream's type, for this stream, which it does not keep alive."""
    write, reference = type(stream).write, weakref.ref(stream)

    def bound(*args: Any, **kwargs: Any) -> Any:
        with users_call:
            return write(reference(), *args, **kwargs)

    return bound


def _reference(stream: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(stream)
    except TypeError:  # None, or an object with slots, of which nothing can be shadowed either
        return _nothing


def _nothing() -> None:
    return None


def _current(name: str) -> Any:
    return getattr(sys, name, None)


def _original(name: str) -> Any:
    return getattr(sys, f"__{name}__", None)


def _descriptor(stream: Any) -> int | None:
    """Return the stream's file descriptor, None where it has none or is closed."""
    try:
        descriptor = stream.fileno()
    except Exception:  # `io.UnsupportedOperation` as a rule, anything where it is of another make
        return None
    return descriptor if isinstance(descriptor, int) else None


def _held_by(stream: Any) -> list[Any]:
    """Return the streams that an object of another make holds, as one does that writes to a file too."""
    values = list(vars(stream).values()) if hasattr(stream, "__dict__") else []
    values += [item for value in values if isinstance(value, (list, tuple)) for item in value[:_MOST_HELD]]
    return [value for value in values[:_MOST_HELD] if callable(getattr(type(value), "write", None))]


def _buffer(stream: Any) -> Any:
    """Return the binary stream below a text stream, None where it has none that is known.

    `buffer` is that of `io.TextIOWrapper`, `stream` that of `codecs.StreamWriter`.
    """
    for name in ("buffer", "stream"):
        found = getattr(stream, name, None)
        if isinstance(found, (io.BufferedIOBase, io.RawIOBase)):
            return found
    return None


def _quietly() -> contextlib.AbstractContextManager[None]:
    # Streams and shells of another make: what cannot be done there is left.
    return contextlib.suppress(Exception)
