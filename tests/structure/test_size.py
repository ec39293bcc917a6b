"""A module has one job. The limit finds long modules, in which a part may be a job of its own."""

from __future__ import annotations

from tests.structure.test_rooms import modules

MOST_LINES = 300
LONGER: dict[str, int] = {}
"""Modules that may have more lines, and how many. The list may only shrink."""


def test_no_module_is_long() -> None:
    lines = {name: len(file.read_text("utf-8").splitlines()) for name, file in modules().items()}
    long = {name: count for name, count in lines.items() if count > LONGER.get(name, MOST_LINES)}
    assert not long, "find a job in it that can have a module, and a test, of its own"
    done = [name for name in LONGER if lines.get(name, 0) <= MOST_LINES]
    assert not done, "to be taken off the list"
