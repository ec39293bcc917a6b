"""Tell what the agent has changed from what a command does differently each time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
        if group in LINES and len(mine) != len(control):
            varying.append(group)
            continue
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


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
