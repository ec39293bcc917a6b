"""The console lines of a run that its Task lacks: the first of them in memory, the others on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from autoinstrument.journal.console_file import ConsoleLine
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.transport.limits import RUN_CONSOLE


class _HeldLine(NamedTuple):
    """A line in memory, and whether the journal has it too."""

    line: ConsoleLine
    kept: bool


class WaitingLines:
    """The lines of one run.

    All methods but `fetch`, which one thread calls, are called with the lock held. `fetch` reads the disk without it:
    lines are added on the thread of the worker's loop, which must not wait for a disk.

    Args:
        journal: the run's, which has the lines on disk.
        lock: guards the lines.
        on_disk: the journal may have lines that the Task lacks.
    """

    def __init__(self, journal: RunJournal, lock: threading.RLock, *, on_disk: bool) -> None:
        self._journal, self._lock = journal, lock
        self._lines: list[_HeldLine] = []
        self._more = on_disk
        """The journal has lines that are not in memory yet."""
        self._behind: list[_HeldLine] = []
        """Lines that come after those, and are not on disk."""
        self._characters = 0
        self._added = self._readings = 0
        """How often lines were added to the disk, and how often a reading that had begun then became void."""

    def __bool__(self) -> bool:
        return bool(self._lines or self._more)

    def __len__(self) -> int:
        """Return how many lines are in memory, in order, from the first one on."""
        return len(self._lines)

    def __getitem__(self, number: int) -> ConsoleLine:
        return self._lines[number].line

    def add(self, lines: Iterable[ConsoleLine], *, kept: bool) -> None:
        """Add lines at the end; `kept` says that the journal has them."""
        self._added += kept
        for line in lines:
            count, characters = len(self._lines) + len(self._behind), self._characters + len(line[1])
            has_room = _fits(count, characters)
            if kept and (self._more or not has_room):
                self._more = True
            elif has_room:
                (self._behind if self._more else self._lines).append(_HeldLine(line, kept))
                self._characters = characters

    def fetch(self) -> None:
        """Take the next lines from disk if memory has none."""
        with self._lock:
            if self._lines or not self._more:
                return
            start, added, readings = self._journal.console_sent, self._added, self._readings
        lines, characters, is_whole = list[ConsoleLine](), 0, True
        for line in self._journal.console(start):
            if not _fits(len(lines), characters + len(line[1])):
                is_whole = False
                break
            lines.append(line)
            characters += len(line[1])
        with self._lock:
            if readings == self._readings:
                self._lines = [_HeldLine(line, kept=True) for line in lines]
                self._characters += characters
                if is_whole and added == self._added:
                    self._all_are_held()

    def drop(self, count: int) -> int:
        """Drop the first lines, which the Task has; return how many of them the journal has."""
        sent = self._lines[:count]
        self._characters -= sum(len(held.line[1]) for held in sent)
        del self._lines[:count]
        return sum(held.kept for held in sent)

    def read_again(self) -> None:
        """Drop what memory has of the journal: all of it waits again."""
        self._lines.clear()
        self._characters = sum(len(held.line[1]) for held in self._behind)
        self._more, self._readings = self._journal.kept, self._readings + 1

    def journal_is_gone(self) -> None:
        """Note that the journal has no lines any more."""
        self._lines = [held._replace(kept=False) for held in self._lines]
        self._readings += 1
        self._all_are_held()

    def in_memory(self) -> list[ConsoleLine]:
        """Return the lines that are in memory."""
        return [held.line for held in self._lines]

    def note_kept(self, *, kept: bool) -> None:
        """Note whether the journal has the lines that are in memory."""
        self._lines = [held._replace(kept=kept) for held in self._lines]

    def _all_are_held(self) -> None:
        self._more = False
        self._lines += self._behind
        self._behind.clear()


def _fits(count: int, characters: int) -> bool:
    """Return True if memory that holds so many lines takes one more, with so many characters in all; it takes one."""
    return not count or (count < RUN_CONSOLE.records and characters <= RUN_CONSOLE.bytes)
