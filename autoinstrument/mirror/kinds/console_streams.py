"""The streams of all processes that write to a run's console, each folded into lines by itself.

Lines of other processes than the one that has the run begin with the name of their process: `[rank 1] `.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autoinstrument.capture.terminal import Line, TerminalLines

_MOST = 256
"""Streams whose unfinished lines are kept; of the one that has been silent the longest, they are finished."""

StreamLine = tuple[str, Line]
"""Stream ("stdout" or "stderr") and a line of it."""


class ConsoleStreams:
    """Turns pieces of text into lines."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], TerminalLines] = {}
        """By process and stream, the one that was written to last at the end."""

    def feed(self, process: str, stream: str, text: str, time_ms: int) -> list[StreamLine]:
        """Take text, and return the lines that it finishes.

        Args:
            process: name of the process, "" for the one that has the run.
            stream: "stdout" or "stderr".
            text: may end anywhere.
            time_ms: when it was written.
        """
        lines: list[StreamLine] = []
        key = process, stream
        folded = self._streams.pop(key, None)
        if folded is None:
            folded = TerminalLines()
            if len(self._streams) >= _MOST:
                oldest = next(iter(self._streams))
                lines += _named(oldest, self._streams.pop(oldest).flush(time_ms))
        self._streams[key] = folded
        return [*lines, *_named(key, folded.feed(text, time_ms))]

    @property
    def has_unfinished_line(self) -> bool:
        """True if `flush` would return a line."""
        return any(folded.is_unfinished for folded in self._streams.values())

    def due(self, now_ms: int) -> list[StreamLine]:
        """Return progress bars that have not ended their line for a while."""
        return [line for key, folded in self._streams.items() for line in _named(key, folded.due(now_ms))]

    def flush(self, now_ms: int) -> list[StreamLine]:
        """Return the last lines, which no newline ends."""
        return [line for key, folded in self._streams.items() for line in _named(key, folded.flush(now_ms))]

    def leave(self, process: str, now_ms: int) -> list[StreamLine]:
        """Return the last lines of a process that is gone, and forget it."""
        keys = [key for key in self._streams if key[0] == process]
        return [line for key in keys for line in _named(key, self._streams.pop(key).flush(now_ms))]


def _named(key: tuple[str, str], lines: Iterable[Line]) -> Iterator[StreamLine]:
    process, stream = key
    for line in lines:
        yield stream, line._replace(text=f"[{process}] {line.text}") if process else line
