"""Turn a console stream into lines: a progress bar becomes its last state, and cursor movements disappear.

A bar redraws itself thousands of times; as a log it is one line. The sequences that bars use are followed (seen in tqdm
4.67, rich 13 and Keras 3): carriage return, cursor up and down, erase line. Colours stay, ClearML's console shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from autoinstrument.named_tuple import NamedTuple

# Escape sequences as in ECMA-48: CSI (colours, movements), OSC (titles, links), and the short ones. All are bounded, so
# that a stray ESC does not swallow what follows.
_LONGEST_SEQUENCE = 2048 + 4
_CSI = r"\x1b\[[0-?]{0,64}[ -/]{0,8}"
_OSC = r"\x1b\][^\x00-\x1f\x7f]{0,2048}"
_SHORT = r"\x1b[ -/]{0,8}"
_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f]+)"
    r"|(?P<colour>\x1b\[[0-9;:]{0,64}m)"
    r"|\x1b\[(?P<count>[0-9]{0,4})(?P<move>[ABFEK])"
    rf"|(?P<other>{_CSI}[@-~]|{_OSC}(?:\x07|\x1b\\)|{_SHORT}[0-OQ-WYZ\\^-~])"
    r"|(?P<control>[\x00-\x08\x0a-\x1f\x7f])"
)
_UNFINISHED = re.compile(rf"(?:{_CSI}|{_OSC}\x1b?|{_SHORT})\Z")
_MOST_ROWS = 64


class Line(NamedTuple):
    """A line of the console and when it was finished, in ms since the epoch."""

    text: str
    time_ms: int


class _Row:
    """A row of the screen below which there may be others, while bars are being redrawn."""

    __slots__ = ("redrawn", "sent", "text")

    def __init__(self) -> None:
        self.text = ""
        self.sent = 0
        """Characters of `text` that were returned already."""
        self.redrawn = False

    def clear(self) -> None:
        self.text, self.sent, self.redrawn = "", 0, True


class TerminalLines:
    """Turns the pieces of one stream into lines; a piece may end anywhere.

    Args:
        longest: characters after which a line is cut in two, which bounds the memory of a stream without a newline.
        every_ms: milliseconds after which a bar that is still being redrawn is shown in its present state.
    """

    def __init__(self, longest: int = 8192, every_ms: int = 10_000) -> None:
        self._longest = longest
        self._every_ms = every_ms
        self._tail = ""
        self._rows = [_Row()]
        self._at = 0
        self._over = False
        """The next character replaces the row's text: the cursor went back to the beginning of the row."""
        self._shown_ms: int | None = None

    def feed(self, text: str, time_ms: int) -> list[Line]:
        """Take the next piece, written at `time_ms`, and return the lines that it finishes."""
        lines: list[Line] = []
        text = self._tail + text
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_SEQUENCE))
        self._tail = unfinished.group() if unfinished else ""
        for token in _TOKEN.finditer(text, 0, len(text) - len(self._tail)):
            lines += self._take(token, time_ms)
        return lines

    @property
    def is_unfinished(self) -> bool:
        """True if `flush` would return a line."""
        return bool(self._tail) or any(row.sent < len(row.text) for row in self._rows)

    def due(self, now_ms: int) -> list[Line]:
        """Return the unfinished rows if they have waited for `every_ms`; call it now and then on a quiet stream."""
        if self._shown_ms is None or now_ms - self._shown_ms < self._every_ms:
            return []
        self._shown_ms = now_ms
        return [line for row in self._rows for line in _rest(row, now_ms)]

    def flush(self, now_ms: int) -> list[Line]:
        """Return what is left; the stream has ended."""
        lines: list[Line] = []
        for token in _TOKEN.finditer(self._tail.replace("\x1b", "")):  # not an escape sequence after all
            lines += self._take(token, now_ms)
        lines += [line for row in self._rows for line in _rest(row, now_ms)]
        self._tail, self._rows, self._at, self._over, self._shown_ms = "", [_Row()], 0, False, None
        return lines

    def _take(self, token: re.Match[str], time_ms: int) -> Iterator[Line]:
        row = self._rows[self._at]
        kind = token.lastgroup
        if kind in ("text", "colour"):
            yield from self._write(token.group(), kind == "colour", time_ms)
        elif token.group() == "\r":
            self._over = True
        elif token.group() == "\n":
            yield from self._newline(time_ms)
        elif kind == "move":
            count = min(int(token["count"] or 1) or 1, _MOST_ROWS)
            if token["move"] == "K":
                # Erase to the right (0, or nothing said), to the left (1), the whole line (2).
                if token["count"] == "2" or (self._over and token["count"] != "1"):
                    row.clear()
            else:
                self._move(-count if token["move"] in "AF" else count)
                self._over = self._over or token["move"] in "EF"

    def _write(self, text: str, whole: bool, time_ms: int) -> Iterator[Line]:
        row = self._rows[self._at]
        if self._shown_ms is None:
            self._shown_ms = time_ms
        if self._over:
            if row.text:
                if time_ms - self._shown_ms >= self._every_ms:
                    self._shown_ms = time_ms
                    yield from _rest(row, time_ms)
                row.clear()
            self._over = False
        at = 0  # the rest of a long text is not copied for each line
        while len(row.text) + len(text) - at > self._longest:
            room = 0 if whole else self._longest - len(row.text)
            row.text += text[at : at + room]
            at += room
            yield from _rest(row, time_ms)
            row.clear()
            row.redrawn = False
            if whole:
                break
        row.text += text[at:]

    def _newline(self, time_ms: int) -> Iterator[Line]:
        if self._at < len(self._rows) - 1:  # rows of other bars are below
            self._at += 1
            self._over = True
            return
        last = self._rows[-1]
        for row in self._rows:
            if row is last and not row.text and not row.redrawn:
                yield Line("", time_ms)
            yield from _rest(row, time_ms)
        self._rows, self._at, self._over, self._shown_ms = [_Row()], 0, False, None

    def _move(self, count: int) -> None:
        self._at += count
        while self._at < 0:
            # Up into lines that were returned already: text that is drawn there becomes a new line.
            if len(self._rows) < _MOST_ROWS:
                self._rows.insert(0, _Row())
                self._rows[0].redrawn = True
            self._at += 1
        self._at = min(self._at, len(self._rows) - 1)


def _rest(row: _Row, time_ms: int) -> Iterator[Line]:
    """Yield the part of the row that was not returned yet."""
    text = row.text[row.sent :]
    row.sent = len(row.text)
    if row.redrawn:
        text = text.rstrip(" ")  # bars blank out what is left of a longer state
    if text:
        yield Line(text, time_ms)
