"""Separate the changes that the agent causes from differences that a command shows each time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from autoinstrument.check.facts import LINES, Facts, look, without_ids
from autoinstrument.check.line_diff import compare_lines

_NUMBERS = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|\d+(\.\d+)?")


class ChangedFact(NamedTuple):
    """A fact that differs with the agent; None if there is no such fact."""

    what: str
    off: str | None
    on: str | None


class CheckReport(NamedTuple):
    """The outcome of a check.

    Attributes:
        compared: how many facts were the same in both runs without the agent, and so could be compared.
        varying: facts that differ between the two runs without the agent, and cannot be compared.
        probed: the state of a Python process was seen at its end; False if it ended by a signal or `os._exit`.
        runs: how many MLflow runs there were with the agent.
        problem: why MLflow's store could not be read, "" if it was.
    """

    compared: int
    differences: list[ChangedFact]
    varying: list[str]
    probed: bool
    runs: int
    problem: str = ""


def check(command: Sequence[str], environ: Mapping[str, str], tracking_uri: str = "") -> CheckReport:
    """Run a command without the agent, with it, and without it again, and compare."""
    off, on, again = (look(command, environ, agent=agent, tracking_uri=tracking_uri) for agent in (False, True, False))
    outcome = compare(off.facts, on.facts, again.facts)
    problem = off.problem or on.problem or again.problem
    return outcome._replace(probed=off.probed and on.probed, runs=on.runs, problem=problem)


def compare(off: Facts, on: Facts, again: Facts) -> CheckReport:
    """Compare the facts of a run with the agent with those of two runs without it."""
    compared = 0
    differences, varying = list[ChangedFact](), list[str]()
    for group in sorted({*off, *on, *again}):
        without, with_agent, control = (facts.get(group, {}) for facts in (off, on, again))
        if group in LINES:
            streams = [list(lines.values()) for lines in (without, with_agent, control)]
            diff = compare_lines(streams[0], streams[1], streams[2], _without_news)
            compared += diff.compared
            differences += [ChangedFact(f"{group}: {name}", *texts) for name, *texts in diff.differences]
            varying += [f"{group}: {name}" for name in diff.varying]
            continue
        shared = without.keys() & with_agent.keys() & control.keys()
        without, with_agent, control = (_renamed(facts, shared) for facts in (without, with_agent, control))
        for name in sorted({*without, *with_agent, *control}, key=_natural):
            what, before, after = f"{group}: {name}", without.get(name), with_agent.get(name)
            if before != control.get(name):
                before, after, same = _alike(before), _alike(after), _alike(control.get(name))
                if before != same:
                    varying.append(what)
                    continue
            compared += 1
            if before != after:
                differences.append(ChangedFact(what, before, after))
    return CheckReport(compared, differences, varying, True, 0)


def _alike(value: str | None) -> str | None:
    return value if value is None else _without_news(value)


def _without_news(value: str) -> str:
    """Return a value without ids, times, and numbers, which may be durations: they are new each time."""
    return _NUMBERS.sub("<n>", without_ids(value))


def _renamed(facts: Mapping[str, str], shared: Collection[str]) -> dict[str, str]:
    """Return the facts; names that are not `shared` are stripped of times and process ids, which are new each time."""
    renamed: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, value in facts.items():
        plain = name if name in shared else _without_news(name)
        counts[plain] += 1
        renamed[f"{plain} ({counts[plain]})" if counts[plain] > 1 else plain] = value
    return renamed


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
