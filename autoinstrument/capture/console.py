"""Capture what the process writes to its console, while the streams stay the objects they were.

The console is what leaves the process through its file descriptors 1 and 2, whichever stream it takes: a script may
put another one into `sys.stdout` (`io.TextIOWrapper(sys.stdout.buffer)`, `open(1, "w")`, a class that writes to a file
too) and go on using the old one. So a shadow is put over the `write` of the binary buffer, through which all text
streams above it write (`capture.shadows`).

- A block-buffered `sys.__stdout__` has a shadow, too: its text is captured when it is written, and not 8 kB later.
- A stream without a descriptor (a notebook, an IDE) is the console itself, unless its text arrives at a shadowed stream
  anyway.
- What the script sends elsewhere (`io.StringIO`, a file) is not captured, nor is what is written to the descriptor
  without Python's streams (C libraries, sub-processes, `os.write`).

Python does not report that `sys.stdout` was replaced. A new stream on the old buffer is captured from its first byte;
one with a separate buffer (`open(1, "w")`) from the next `look` on.

A print costs 1 to 2 µs more (Python 3.10 to 3.13, without what the listener does).
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from typing import Any

from autoinstrument import notebook_output
from autoinstrument.capture import notebook, streams
from autoinstrument.capture.shadows import BufferShadow, Listener, OtherShadow, Shadow, TextShadow
from autoinstrument.capture.streams import NAMES, quietly

_DEPTH = 2
"""How many levels of streams that hold other streams are looked through."""


class ConsoleCapture:
    """Hands on what is written to the process's console between `attach` and `detach`.

    Args:
        write: called with "stdout" or "stderr" and the text, in the thread that wrote, after the text was written. It
            should be quick. What it writes itself is not captured; what it raises is dropped.
        descriptors: the console's file descriptors.
    """

    def __init__(self, write: Callable[[str, str], None], descriptors: tuple[int, int] = (1, 2)) -> None:
        self._listener = Listener(write, self.look)
        self._descriptors = descriptors
        self._shadows: dict[int, Shadow] = {}
        """By the `id` of the shadowed object, which the shadow keeps alive."""
        self._seen: tuple[Callable[[], Any], Callable[[], Any]] = (streams.nothing, streams.nothing)
        """Weak references to what `sys` held at the last look: a stream that is replaced must be free to go at once."""
        self._lock = threading.Lock()
        self._attached = False
        self._shell: Any = None

    def attach(self) -> None:
        """Begin to capture. A stream that takes no shadow is left alone."""
        with self._lock:
            self._attached = True
            self._listener.listen(wanted=True)
            self._follow()
            # IPython (9.18) puts its `write` on the streams before each cell and afterwards the one that it
            # found, which removes a shadow that was put there from within the cell.
            self._shell = notebook.shell()
            if self._shell is not None:
                with quietly():
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
        # Called often and by any thread: as a rule there is nothing to do, and no thread should wait for another.
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
                for name in NAMES:
                    stream = streams.current(name)
                    if isinstance(stream, io.TextIOWrapper) and stream is not streams.original(name):
                        with quietly():
                            if id(stream.buffer) in self._shadows:
                                stream.flush()
            self._attached = False
            for shadow in self._shadows.values():
                shadow.remove()
            self._listener.listen(wanted=False)
            self._shadows.clear()
            if self._shell is not None:
                with quietly():
                    self._shell.events.unregister("pre_run_cell", self._cell_begins)
                self._shell = None

    def _cell_begins(self, *_: Any) -> None:
        self.follow()

    def _follow(self) -> None:
        current = [streams.current(name) for name in NAMES]
        self._seen = (streams.reference(current[0]), streams.reference(current[1]))
        for key, shadow in list(self._shadows.items()):
            if shadow.is_over(current):
                shadow.remove()
                del self._shadows[key]
        # First the interpreter's own streams: one that stands for both keeps its name. A notebook's kernel reads what
        # comes out of those, and writes it to its own streams.
        if not any(map(notebook_output.is_page, current)):
            for name in NAMES:
                self._capture(name, streams.original(name))
        for name, stream in zip(NAMES, current, strict=True):
            self._capture(name, stream)

    def _capture(self, name: str, stream: Any) -> None:
        with quietly():  # a stream of the script's own class may raise anything: it is not captured
            if notebook_output.is_page(stream) or not (
                self._capture_below(name, stream, _DEPTH) or self._is_elsewhere(stream)
            ):
                self._shadow(OtherShadow, stream, name)

    def _capture_below(self, name: str, stream: Any, depth: int) -> bool:
        """Capture what the stream writes to the console's descriptors; return True if it does."""
        descriptor = streams.descriptor_of(stream)
        if descriptor is not None and not streams.is_one_of(descriptor, self._descriptors):
            return False
        buffer = None if descriptor is None else streams.buffer_of(stream)
        if buffer is None:
            held = streams.held_by(stream) if depth > 0 else []
            return any([self._capture_below(name, each, depth - 1) for each in held])  # noqa: C419  (all of them)
        self._shadow(BufferShadow, buffer, name)
        if stream is streams.original(name) and not (stream.line_buffering or stream.write_through):
            self._shadow(TextShadow, stream, name)
        return True

    def _is_elsewhere(self, stream: Any) -> bool:
        """Return True for a stream to a file or into memory; a text wrapper without a descriptor is one over memory."""
        if stream is None or isinstance(stream, (io.StringIO, io.TextIOWrapper)):
            return True
        descriptor = streams.descriptor_of(stream)
        return descriptor is not None and not streams.is_one_of(descriptor, self._descriptors)

    def _shadow(self, kind: type[Shadow], stream: Any, name: str) -> None:
        shadow = self._shadows.get(id(stream))
        if shadow is None or not shadow.is_on_top():
            # Other code has put its method over the shadow's, or has taken it away. Which of the two cannot be seen;
            # both shadows may stay, as the inner one is silent while the outer one is called.
            self._shadows[id(stream)] = kind(stream, shadow.name if shadow else name, self._listener)
