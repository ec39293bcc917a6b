"""Send a process's console text to the worker of another process, which has the run.

There is no thread, and nothing is waited for: each text is sent by the thread that has written it, because pools end
their processes by `os._exit` or a signal, and a thread in a forked process is a hazard to the next fork. What the
socket does not take waits in bounded memory, and goes with the next text.

The frames are those of `transport.protocol`, written here without its imports: every Python process below a training
may load this module.
"""

from __future__ import annotations

import _thread
import os
import socket
import sys
import time
from collections import deque

from autoinstrument.child_console import marks
from autoinstrument.child_console.marks import Mark
from autoinstrument.child_console.process_name import process_name
from autoinstrument.transport import peer
from autoinstrument.transport.sockets import NO_SIGNAL, OwnSocket, above_streams

try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:  # not CPython
    from json.encoder import encode_basestring_ascii as _quoted

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_CHARACTERS, MOST_TEXTS = 2**20, 10_000
"""Limits of the text that waits; the oldest text is dropped."""
_LOOK_S = 1.0
"""Seconds between two looks for a worker."""
_FRAME_CHARACTERS = 16_000
_JOIN_MS, _JOINED_CHARACTERS = 20, 4000
_NUMBERS = {"stdout": 1, "stderr": 2}

Text = tuple[str, str, int]
"""Stream, text, time in ms since the epoch."""


class NewestTexts:
    """Texts that wait: the newest ones, as many as the limits allow.

    Any thread may add one at any time. Only one thread at a time may drop and pop: threads that count characters at
    once miscount.
    """

    def __init__(self) -> None:
        self._added: deque[Text] = deque()
        self._counted: deque[Text] = deque()
        self._characters = 0
        """Of the texts in `_counted`."""

    def __bool__(self) -> bool:
        return bool(self._added or self._counted)

    def add(self, text: Text) -> None:
        """Add a text, without regard to the limits."""
        self._added.append(text)

    def drop_oldest(self) -> None:
        """Drop the oldest texts until the rest is within the limits."""
        while (text := _first(self._added)) is not None:
            self._counted.append(text)
            self._characters += len(text[1])
        while self._characters > MOST_CHARACTERS or len(self._counted) > MOST_TEXTS:
            self.pop()

    def pop(self) -> Text | None:
        """Return the oldest text, and forget it; None if there is none."""
        text = _first(self._counted)
        self._characters = self._characters - len(text[1]) if text is not None else 0
        return text

    def take(self) -> list[Text]:
        """Return all texts, and forget them; at any time, too."""
        taken: list[Text] = []
        for texts in (self._counted, self._added):
            while (text := _first(texts)) is not None:
                taken.append(text)
        self._characters = 0
        return taken


def _first(texts: deque[Text]) -> Text | None:
    try:
        return texts.popleft()
    except IndexError:
        return None


class ConsoleLink:
    """Sends what this process writes to its console to the worker of the nearest process that has begun a run.

    Text goes there only if the stream leads to the same file as one of that process's: a sub-process whose output the
    script reads itself writes to no console.

    Args:
        relayed: ids of the process whose descriptors this one relays and of its ancestors, the nearest first; () for
            a link of the process's own.
        name: how lines are named in runs of others, None for the process's own name.
        apart_from: id of a process to whose runs nothing is sent, because its own relay does that.

    Attributes:
        forked_by: the processes that have forked this one, the nearest first.
    """

    def __init__(self, relayed: Iterable[int] = (), name: str | None = None, apart_from: int = 0) -> None:
        self.forked_by: tuple[int, ...] = ()
        self._relayed, self._name, self._apart_from = tuple(relayed), name, apart_from
        self._pid = os.getpid()
        self._reset()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._forked)

    def _reset(self) -> None:
        self._socket: OwnSocket | None = None
        self._mark: Mark | None = None
        self._waiting = NewestTexts()
        self._unsent = b""
        self._look_at = 0.0
        self._lock = _thread.allocate_lock()

    def _forked(self) -> None:
        self.close()
        self.forked_by = (self._pid, *self.forked_by)
        self._pid = os.getpid()
        self._reset()

    @property
    def is_connected(self) -> bool:
        """True while this process's text goes to the run of another process."""
        return self._socket is not None

    def write(self, stream: str, text: str, time_ms: int) -> None:
        """Take text; it is sent at once if there is a worker for it."""
        self._waiting.add((stream, text, time_ms))
        self.send()

    def send(self) -> None:
        """Send what waits, as far as that is possible at once; other threads only leave their text meanwhile."""
        while (self._waiting or self._unsent) and self._lock.acquire(False):
            try:
                self._waiting.drop_oldest()
                is_sent = self._connect() and self._send()
            except OSError:
                self._drop()
                is_sent = False
            finally:
                self._lock.release()
            if not is_sent:
                return

    def mark(self, number: int) -> bool:
        """Send a `ConsoleDrained` of the relayed process, behind all text so far.

        Returns:
            False if it is not sent: text still waits, or goes to the runs of another process, or nowhere.
        """
        if self._socket is None:
            self.look_again()
        self.send()
        with self._lock:
            if self._waiting or self._unsent or self._mark is None or self._mark.pid not in self._relayed[:1]:
                return False
            self._unsent = _frame([f'["ConsoleDrained",{self._mark.pid},{number}]'])
            try:
                return self._send()
            except OSError:
                self._drop()
                return False

    def look_again(self) -> None:
        """Look for the worker again: another process with a run may be the nearest one now."""
        with self._lock:
            self._drop()
            self._look_at = 0.0

    def take(self) -> list[Text]:
        """Return what waits, and forget it."""
        return self._waiting.take()

    def close(self) -> None:
        """Close the connection, if it is still there."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _drop(self) -> None:
        self.close()
        self._unsent = b""

    def _connect(self) -> bool:
        if self._socket is not None:
            if self._socket.is_own:
                return True
            self._drop()
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_S
        self._mark = marks.find(self.forked_by + self._relayed)
        if self._mark is None or self._mark.pid in (self._pid, self._apart_from):
            return False
        if sys.platform == "win32":
            return False
        connection = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            connection.setblocking(False)  # a worker that was stopped accepts nothing: its queue may be full
            connection.connect(os.path.join(self._mark.worker, "socket"))  # noqa: PTH118
            peer.check(connection)
        except BaseException:
            connection.close()
            raise
        self._socket, self._unsent = OwnSocket(connection), self._joined(self._mark.pid)
        return True

    def _joined(self, parent: int) -> bytes:
        name = "" if parent in self._relayed[:1] else process_name() if self._name is None else self._name
        devices = (f"{_quoted(name)}:{_quoted(os.environ[name])}" for name in _DEVICES if name in os.environ)
        return _frame([f'["ProcessJoined",{os.getpid()},{parent},{_quoted(name)},{{{",".join(devices)}}}]'])

    def _send(self) -> bool:
        """Send one frame; return False if the socket takes no more.

        Raises:
            OSError: the connection is lost.
        """
        if self._socket is None:
            return False
        self._unsent = self._unsent or self._next_frame()
        try:
            self._unsent = self._unsent[self._socket.get().send(self._unsent, NO_SIGNAL) :]
        except BlockingIOError:
            return False
        return not self._unsent

    def _next_frame(self) -> bytes:
        texts: list[Text] = []
        size = 0
        while size < _FRAME_CHARACTERS and (text := self._waiting.pop()) is not None:
            if self._is_on_console(text[0]):
                size += len(text[1])
                last = texts[-1] if texts else None
                # `print` writes each word by itself.
                if last and last[0] == text[0] and text[2] - last[2] < _JOIN_MS and len(last[1]) < _JOINED_CHARACTERS:
                    texts[-1] = (last[0], last[1] + text[1], last[2])
                else:
                    texts.append(text)
        return _frame(f'["ConsoleWritten",{_quoted(name)},{_quoted(text)},{time_ms}]' for name, text, time_ms in texts)

    def _is_on_console(self, stream: str) -> bool:
        files = self._mark.files if self._mark is not None and not self._relayed else None
        return files is None or marks.file_of(_NUMBERS[stream]) in files


def _frame(records: Iterable[str]) -> bytes:
    body = f"[{','.join(records)}]".encode("ascii")
    return len(body).to_bytes(4, "big") + body


_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""As in `capture.process`."""
