"""Tell what the agent has changed from what a command does differently each time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from autoinstrument.check.facts import LINES, Facts, look, without_ids

_NUMBERS = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|\d+(\.\d+)?")


class Difference(NamedTuple):
    """A fact that is one thing without the agent and another with it; None where there is no such fact."""

    what: str
    off: str | None
    on: str | None


class Comparison(NamedTuple):
    """What came of a check.

    Attributes:
        compared: how many facts were the same twice without the agent, and so could be compared.
        varying: facts that differ between two runs without the agent; nothing can be said of them.
        probed: a Python process was looked into at its end; False where it ended by a signal or `os._exit`.
        runs: how many MLflow runs there were with the agent.
    """

    compared: int
    differences: list[Difference]
    varying: list[str]
    probed: bool
    runs: int


def check(command: Sequence[str], environ: Mapping[str, str], tracking_uri: str = "") -> Comparison:
    """Run a command without the agent, with it, and without it again, and compare."""
    off, on, again = (look(command, environ, agent=agent, tracking_uri=tracking_uri) for agent in (False, True, False))
    return compare(off.facts, on.facts, again.facts)._replace(probed=off.probed and on.probed, runs=on.runs)


def compare(off: Facts, on: Facts, again: Facts) -> Comparison:
    """Compare the facts of a run with the agent with those of two runs without it."""
    compared = 0
    differences, varying = list[Difference](), list[str]()
    for group in sorted({*off, *on, *again}):
        mine, theirs, control = (facts.get(group, {}) for facts in (off, on, again))
        if group in LINES:
            if len(mine) != len(control):
                varying.append(group)
                continue
            theirs = _aligned(mine, theirs)
        else:
            shared = mine.keys() & theirs.keys() & control.keys()
            mine, theirs, control = (_renamed(facts, shared) for facts in (mine, theirs, control))
        for name in sorted({*mine, *theirs, *control}, key=_natural):
            what, before, after = f"{group}: {name}", mine.get(name), theirs.get(name)
            if before != control.get(name):
                before, after, same = _alike(before), _alike(after), _alike(control.get(name))
                if before != same:
                    varying.append(what)
                    continue
            compared += 1
            if before != after:
                differences.append(Difference(what, before, after))
    return Comparison(compared, differences, varying, True, 0)


def _alike(value: str | None) -> str | None:
    """Return a value without what is new each time: ids and times, and numbers for they may be durations."""
    return value if value is None else _NUMBERS.sub("<n>", without_ids(value))


def _aligned(lines: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return the other lines under the names of those that they are like; what is between two has a name of its own.

    Both are named as in `LINES`; one line more is one difference, and not one for each line that comes behind it.
    """
    one, other = ([_alike(line) for line in each.values()] for each in (lines, others))
    if len(one) == len(other):
        return dict(others)
    names, texts = list(lines), list(others.values())
    aligned: dict[str, str] = {}
    for _, start, end, first, last in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        for name, text in zip(names[start:end], texts[first:last], strict=False):
            aligned[name] = text
        before = names[end - 1] if end else "the beginning"
        for number, text in enumerate(texts[first + (end - start) : last], 1):
            aligned[f"{before}, {number} after it"] = text
    return aligned


def _renamed(facts: Mapping[str, str], shared: Collection[str]) -> dict[str, str]:
    """Return the facts with the names that are not `shared` without what is new each time: a time, a process's id."""
    renamed: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, value in facts.items():
        plain = name if name in shared else _alike(name) or ""
        counts[plain] += 1
        renamed[f"{plain} ({counts[plain]})" if counts[plain] > 1 else plain] = value
    return renamed


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
