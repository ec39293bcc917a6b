"""The streams of a relay, each with a thread of its own, see `relay`."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import socket
import struct
import sys
import threading
import time
from typing import Any

from autoinstrument.child_console import marks
from autoinstrument.child_console.link import ConsoleLink

_CHUNK = 1 << 16
_LOOK_S = 0.2
"""Seconds between two looks at a regular file, and at the size of a terminal."""
LOOK = b"\0"
"""From the process: look for the worker anew. Any other byte is a question: it is answered when everything is written
that was written before it. Several may come together; then only the last is answered."""
ANSWER = struct.Struct("!BI")
"""To the process: its question, and the number of the `ConsoleDrained` that the worker was sent then, 0 for none."""


class RelayStreams:
    """Reads what processes write, and passes it on.

    Args:
        plan: the streams (`streams`: name, source, user's descriptor, kind), the process's socket (`control`), its id
            and those of its ancestors (`pids`), its name (`name`), and the id of the process whose relay reads what
            this one writes (`outer`).
        closing: descriptor to which the position of a stream is written that its reader has closed.
        with_worker: text goes to the worker too.
    """

    def __init__(self, plan: dict[str, Any], closing: int, *, with_worker: bool) -> None:
        self._pid = plan["pids"][0]
        self._link = ConsoleLink(plan["pids"], plan["name"], plan["outer"]) if with_worker else None
        self._closing = closing
        self._marks = 0
        self._control = socket.socket(fileno=plan["control"])
        self._is_left = threading.Event()
        """Set when the process is gone, or has its descriptors back."""
        self._streams = [
            _KINDS[kind](self, name, _moved_down(source), target if kind == "file" else _moved_down(target))
            for name, source, target, kind in plan["streams"]
        ]

    def run(self) -> None:
        """Work until all writers are gone."""
        threads = [threading.Thread(target=stream.run) for stream in self._streams]
        for thread in threads:
            thread.start()
        while not self._is_left.is_set():
            try:
                asked = self._control.recv(64)
            except OSError:
                asked = b""
            if self._link is not None and LOOK in asked:
                self._link.look_again()
            if questions := asked.replace(LOOK, b""):
                while not all(stream.is_drained() for stream in self._streams):
                    time.sleep(0.001)
                self._control.send(ANSWER.pack(questions[-1], self._mark()))
            if not asked:
                self._is_left.set()
        for thread in threads:
            thread.join()
        self._control.close()
        marks.remove(self._pid)  # the process was killed, or is at its end

    def _mark(self) -> int:
        """Mark for the worker what was written so far; return the mark's number, 0 if it gets none."""
        self._marks += 1
        return self._marks if self._link is not None and self._link.mark(self._marks) else 0

    def hand_on(self, name: str, text: str) -> None:
        """Send text to the worker."""
        if self._link is not None and text:
            self._link.write(name, text, int(time.time() * 1000))

    def close(self, stream: _Stream) -> None:
        """Let the writers of a stream fail, because its reader has closed it."""
        with contextlib.suppress(OSError):  # in place of a relay that was killed: no guardian keeps the stream open
            os.write(self._closing, bytes([self._streams.index(stream)]))

    def is_left(self) -> bool:
        """Return True if the process is gone."""
        return self._is_left.is_set()


class _Stream:
    def __init__(self, streams: RelayStreams, name: str, source: int, target: int) -> None:
        self._streams, self._name, self._source, self._target = streams, name, source, target
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_busy = self._is_over = False

    def is_drained(self) -> bool:
        """Return True if everything that was written so far was passed on."""
        return self._is_over or (not select.select([self._source], [], [], 0)[0] and not self._is_busy)

    def run(self) -> None:
        """Pass on what is read, until all writers or the reader have closed the stream."""
        while not self._is_over:
            if select.select([self._source], [], [], _LOOK_S)[0]:
                self._follow()
                self._is_busy = True  # before the read: `is_drained` looks at the source first
                self._is_over = not self._pass_on()
                self._is_busy = False
            else:
                self._follow()
        self._hand_on(b"", final=True)
        os.close(self._source)

    def _pass_on(self) -> bool:
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:  # a terminal without writers
            return False
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._target, left) :]
            except BlockingIOError:  # the reader's end is in this mode, and so is the other one
                select.select([], [self._target], [])
            except OSError:
                self._streams.close(self)
                return False
        self._hand_on(data)
        return bool(data)

    def _hand_on(self, data: bytes, *, final: bool = False) -> None:
        self._streams.hand_on(self._name, self._decoder.decode(data, final))

    def _follow(self) -> None:
        """Do the work that is due between two reads."""


class _Pipe(_Stream):
    """A pipe, or anything else that is neither a terminal nor a regular file."""


class _Terminal(_Stream):
    """A terminal of its own in place of the user's, of the same size; it changes no byte."""

    _size = b""

    def _follow(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl
        import termios

        try:
            size = fcntl.ioctl(self._target, termios.TIOCGWINSZ, bytes(8))
            if size != self._size:
                self._size = size
                fcntl.ioctl(self._source, termios.TIOCSWINSZ, size)
        except OSError:  # the user's terminal is gone
            pass


class _File(_Stream):
    """A regular file: others write to it, and it is read from where it ended."""

    def __init__(self, streams: RelayStreams, name: str, source: int, target: int) -> None:
        super().__init__(streams, name, source, target)
        self._at = target  # where the file ended

    def is_drained(self) -> bool:
        self._read()
        return True

    def run(self) -> None:
        while not self._streams.is_left():
            self._read()
            time.sleep(_LOOK_S)
        self._read()
        self._hand_on(b"", final=True)

    def _read(self) -> None:
        with _reading:
            if os.fstat(self._source).st_size < self._at:  # it was truncated
                self._at = 0
            os.lseek(self._source, self._at, os.SEEK_SET)
            while data := os.read(self._source, _CHUNK):
                self._at += len(data)
                self._hand_on(data)


def _moved_down(descriptor: int) -> int:
    """Return the descriptor with the lowest free number: `select` takes none over 1,023, which a process may have."""
    moved = os.dup(descriptor)
    os.close(descriptor)
    return moved


_reading = threading.Lock()
_KINDS: dict[str, type[_Stream]] = {"pipe": _Pipe, "terminal": _Terminal, "file": _File}
