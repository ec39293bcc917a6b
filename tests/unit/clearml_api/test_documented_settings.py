"""docs/clearml-settings.md has one answer for each of ClearML's settings, and names none that ClearML does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import clearml
import pytest
from packaging.version import Version

from tests.startup.environment import ROOT

SDK = Path(clearml.__file__).parent
PAGE = (ROOT / "docs" / "clearml-settings.md").read_text("utf-8")
ANSWERS = {"followed", "does not apply", "not followed"}
_CONSTANT = re.compile(r"""EnvEntry\(\s*["'](\w+)["']""")


class Row(NamedTuple):
    """One entry of the page: a variable, a setting, or `group.*`, and the release since when there is one."""

    name: str
    since: Version
    answer: str

    def covers(self, entry: str) -> bool:
        return entry == self.name or (self.name.endswith(".*") and entry.startswith(self.name[:-1]))


def rows() -> list[Row]:
    found = []
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            entries, answer, _ = (cell.strip() for cell in line.strip("|").split("|"))
            for name, since in re.findall(r"`([\w.*]+)`(?: \(since ([\d.]+)\))?", entries):
                found.append(Row(name, Version(since or "0"), answer))
    return found


ROWS = rows()


def settings(tree: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted names of a configuration's leaves; an empty group is a leaf."""
    for name, value in tree.items():
        dotted = f"{prefix}.{str(name).strip(chr(34))}"
        if hasattr(value, "items") and value:
            yield from settings(value, dotted)
        else:
            yield dotted


@pytest.fixture(scope="module")
def entries() -> set[str]:
    """Return all settings of the installed SDK: its default configuration, and its declared variables."""
    from clearml.utilities.pyhocon import ConfigFactory

    found = set[str]()
    for folder in ("config", "backend_api/config"):
        for file in sorted((SDK / folder / "default").glob("*.conf")):
            found |= set(settings(ConfigFactory.parse_file(str(file)), file.stem))
    for source in SDK.rglob("*.py"):
        found |= set(_CONSTANT.findall(source.read_text("utf-8")))
    return found - {"CI"}


def test_each_setting_has_one_answer(entries: set[str]) -> None:
    assert len(entries) > 100
    answers = {entry: [row.answer for row in ROWS if row.covers(entry)] for entry in sorted(entries)}
    assert [entry for entry, given in answers.items() if len(given) != 1] == []


def test_each_answer_is_about_a_setting(entries: set[str]) -> None:
    """Settings without a default are in the sources alone, with the dotted name below `sdk`."""
    installed = Version(metadata.version("clearml"))
    sources = "".join(source.read_text("utf-8") for source in SDK.rglob("*.py"))
    gone = [
        row.name
        for row in ROWS
        if not any(row.covers(entry) for entry in entries)
        and not re.search(rf"""["']{re.escape(row.name.removeprefix("sdk."))}["']""", sources)
        and row.since <= installed
    ]
    assert gone == []
    assert {row.answer for row in ROWS} == ANSWERS
