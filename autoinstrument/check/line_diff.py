"""Compare the lines of a stream with the agent with those of two runs without it, leaving out only lines that vary.

Lines are aligned by their exact text first, then without ids, times and numbers. The two runs without the agent show
which lines vary. The run with the agent may have any number of lines that resemble these; at each place where lines
vary it may also have as many other lines. So a progress bar, which writes a different number of lines each time, does
not hide a traceback beside it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import NamedTuple

_MOST_PAIRS = 1_000_000
"""Pairs of lines up to which frequent lines, too, anchor an alignment; that takes quadratic time."""
_MOST_FORMS, _LONGEST = 30, 200
"""Varying lines that a line is compared with, and characters of each that count."""

Alike = Callable[[str], str]
"""Returns a line without what is new in each run."""


class LineDiff(NamedTuple):
    """How the streams of three runs differ.

    Attributes:
        compared: number of lines that were compared.
        differences: name of each different line, its text without the agent, and with it; None for no line.
        varying: names of the lines that vary without the agent.
    """

    compared: int
    differences: list[tuple[str, str | None, str | None]]
    varying: list[str]


class _Block(NamedTuple):
    """Lines `start` to `end` of one text, which another text replaces by its lines `first` to `last`."""

    start: int
    end: int
    first: int
    last: int


class _Change(NamedTuple):
    """A place where the run with the agent differs.

    Attributes:
        end: the number of the line behind it, in the run without the agent.
        lost: numbers of stable lines that the run with the agent lacks.
        added: lines that only it has.
        excused: how many of these are explained by lines that vary at this place.
    """

    end: int
    lost: list[int]
    added: list[str]
    excused: int


def compare_lines(off: Sequence[str], on: Sequence[str], again: Sequence[str], alike: Alike) -> LineDiff:
    """Compare the lines of a run with the agent with those of two runs without it.

    A line is named by its number in `off`; a line that only `on` has, by the line before it.
    """
    twins, unstable = _aligned(off, again, alike)
    matches, changed = _aligned(off, on, alike)
    stable = [number for number in matches if number in twins]
    differences: list[tuple[int, int, str | None, str | None]] = [
        (number, 0, off[number], on[matches[number]])
        for number in stable
        if off[number] == again[twins[number]] and off[number] != on[matches[number]]
    ]
    control = _Control(off, again, unstable, alike)
    changes = [_change(block, control, twins, off, on) for block in changed]
    if control.moved:
        changes = _without_moves(changes, off, alike)
    compared = len(stable)
    for end, lost, added, excused in changes:
        for place, (number, line) in enumerate(itertools.zip_longest(lost, added[excused:])):
            compared += 1
            at, after = (end - 1, place - len(lost) + 1) if number is None else (number, 0)
            differences.append((at, after, None if number is None else off[number], line))
    varying = [_name(number) for number in range(len(off)) if number not in twins]
    varying += [_name(block.end - 1, 1) for block in unstable if block.start == block.end]
    named = [(_name(at, after), before, line) for at, after, before, line in sorted(differences, key=lambda it: it[:2])]
    return LineDiff(compared, named, varying)


def _name(number: int, after: int = 0) -> str:
    name = f"line {number + 1}" if number >= 0 else "the beginning"
    return f"{name}, {after} after it" if after else name


class _Control:
    """The lines that vary between two runs without the agent.

    Attributes:
        moved: lines that both runs have, at different places, as threads write them.
    """

    def __init__(self, off: Sequence[str], again: Sequence[str], unstable: Iterable[_Block], alike: Alike) -> None:
        self._alike = alike
        self._places = [
            (block, [alike(line) for line in off[block.start : block.end]],
             [alike(line) for line in again[block.first : block.last]])
            for block in unstable
        ]  # fmt: skip
        here, there = ({line for place in self._places for line in place[side]} for side in (1, 2))
        self.moved = here & there
        forms = dict.fromkeys(line[:_LONGEST] for _, *sides in self._places for side in sides for line in side)
        self._forms = list(forms)[:_MOST_FORMS]
        self._known: dict[str, bool] = {}

    def resembles(self, line: str) -> bool:
        """Return True if a line resembles one that varies."""
        form = self._alike(line)[:_LONGEST]
        if form not in self._known:
            self._known[form] = bool(get_close_matches(form, self._forms, 1))
        return self._known[form]

    def varying_at(self, block: _Block) -> int:
        """Return how many lines vary at the place of a block of the first run."""
        near = [sides for one, *sides in self._places if one.start <= block.end and block.start <= one.end]
        return max(sum(line not in self.moved for sides in near for line in sides[side]) for side in (0, 1))


def _change(
    block: _Block, control: _Control, twins: Mapping[int, int], off: Sequence[str], on: Sequence[str]
) -> _Change:
    """Return the changes in a block that the two runs without the agent do not explain."""
    stable = [number for number in range(block.start, block.end) if number in twins]
    lost = [number for number in stable if not control.resembles(off[number])]
    lines = on[block.first : block.last]
    added = [line for line in lines if not control.resembles(line)]
    return _Change(block.end, lost, added, max(0, control.varying_at(block) - (len(lines) - len(added))))


def _without_moves(changes: Iterable[_Change], off: Sequence[str], alike: Alike) -> list[_Change]:
    """Leave out lines that are lost at one place and added at another."""
    changes = list(changes)
    lost = Counter(alike(off[number]) for change in changes for number in change.lost)
    moved = lost & Counter(alike(line) for change in changes for line in change.added)
    gone, come = Counter(moved), Counter(moved)

    def stays(line: str, left: Counter[str]) -> bool:
        left[alike(line)] -= 1
        return left[alike(line)] < 0

    return [
        change._replace(
            lost=[number for number in change.lost if stays(off[number], gone)],
            added=[line for line in change.added if stays(line, come)],
        )
        for change in changes
    ]


def _aligned(one: Sequence[str], other: Sequence[str], alike: Alike) -> tuple[dict[int, int], list[_Block]]:
    """Return which line of `other` each line of `one` is, and the blocks between that have no counterpart."""
    matches: dict[int, int] = {}
    blocks: list[_Block] = []
    plain, others = [alike(line) for line in one], [alike(line) for line in other]
    for block in _blocks(one, other, _Block(0, len(one), 0, len(other)), matches):
        blocks += _blocks(plain, others, block, matches)
    return matches, blocks


def _blocks(one: Sequence[str], other: Sequence[str], within: _Block, matches: dict[int, int]) -> Iterator[_Block]:
    """Yield the blocks in which two texts differ, and note the lines that match."""
    start, end, first, last = within
    while start < end and first < last and one[start] == other[first]:
        matches[start] = first
        start, first = start + 1, first + 1
    while start < end and first < last and one[end - 1] == other[last - 1]:
        end, last = end - 1, last - 1
        matches[end] = last
    junk = (end - start) * (last - first) > _MOST_PAIRS
    matcher = SequenceMatcher(None, one[start:end], other[first:last], autojunk=junk)
    for kind, i, j, k, n in matcher.get_opcodes():
        if kind == "equal":
            matches.update(zip(range(start + i, start + j), range(first + k, first + n), strict=True))
        else:
            yield _Block(start + i, start + j, first + k, first + n)
