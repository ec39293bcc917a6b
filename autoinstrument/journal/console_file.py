"""A run's console on disk, until its Task holds all of it: one JSON list `[stream, text, time in ms]` a line.

Beside it is the number of lines that the Task holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from autoinstrument.atomic_file import FLAGS, write_all
from autoinstrument.records import parse

MAX_BYTES = 256 * 2**20
"""Size of the file of one run; later lines are left out."""
_MAX_LINE = 64 * 2**20
_COUNT_BYTES = 21

ConsoleLine = tuple[str, str, int]
"""Stream, text, time in ms."""


class _Position:
    """Number, and offset in bytes, of the line of one file that the last reader did not take."""

    line = 0, 0


class ConsoleFile:
    """The lines of one run. A reader goes on where the one before has stopped: a long console is read in many parts.

    One thread may read while another one appends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopped_at = _Position()

    def append(self, lines: list[ConsoleLine]) -> bool:
        """Append lines, all of them or none; return True if the file holds them.

        Raises:
            OSError: the folder cannot be written, or the file is a link.
        """
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | FLAGS, 0o600)
        try:
            size = os.fstat(file).st_size
            if size == 0:  # it is new; the one before was removed with the run's folder
                self._stopped_at = _Position()
            if size >= MAX_BYTES:
                return False
            try:
                write_all(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
            except OSError:
                os.ftruncate(file, size)  # half a line would hide all lines after it
                raise
        finally:
            os.close(file)
        return True

    def read(self, start: int = 0) -> Iterator[ConsoleLine]:
        """Yield the lines from number `start` on, up to one that a crash has cut off."""
        stopped_at = self._stopped_at
        number, offset = stopped_at.line if start >= stopped_at.line[0] else (0, 0)
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                while text := file.readline(_MAX_LINE):
                    if number >= start:
                        stream, line, time_ms = parse(text)
                        yield str(stream), str(line), int(time_ms)
                    number, offset = number + 1, offset + len(text)
                    stopped_at.line = number, offset
        except (OSError, ValueError, TypeError, OverflowError):
            return


def note_sent(path: Path, count: int) -> None:
    """Write to a file how many lines the Task holds. This is done after each request, so that it must be cheap.

    Raises:
        OSError: the folder cannot be written, or the file is a link.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | FLAGS, 0o600)
    try:
        write_all(file, b"%020d\n" % count)  # always as long, so that no old digits are left
    finally:
        os.close(file)


def sent(path: Path, default: int) -> int:
    """Return how many lines the Task holds, `default` if there is no such file or it is damaged."""
    try:
        with path.open("rb") as file:
            return max(0, int(file.read(_COUNT_BYTES)))
    except (OSError, ValueError):
        return default
