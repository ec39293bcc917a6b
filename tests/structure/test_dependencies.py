"""The dependencies were reviewed, and SECURITY.md describes them truly."""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
import warnings
from importlib import metadata
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.startup.environment import ROOT

LIST = ROOT / ".ci" / "dependencies.csv"
KINDS = {
    "MIT": r"\bMIT\b", "BSD": r"\b0?BSD\b", "Apache": "Apache", "PSF": "PSF|Python Software Foundation", "Zlib": "Zlib",
    "Unlicense": "Unlicense|Public Domain", "CC0": "CC0", "MPL": "MPL|Mozilla Public", "GPL": "GPL|General Public",
}  # fmt: skip
"""Kinds of licences by their names: the same one is "MIT", "MIT License" or a classifier."""


class Reviewed(NamedTuple):
    """A line of the list."""

    version: str
    licence: str
    brought_by: str
    purpose: str


def reviewed() -> dict[str, Reviewed]:
    with LIST.open(newline="") as file:
        return {name: Reviewed(*others) for name, *others in itertools.islice(csv.reader(file), 1, None)}


def installed() -> set[str]:
    """Return the names of all distributions that this package needs, and of those that these need, as installed."""
    waiting, found = [Requirement("autoinstrument")], set[str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(line) for line in metadata.requires(name) or []]
    return found - {"autoinstrument"}


def licence(name: str) -> str:
    about = metadata.metadata(name)
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    return " ".join([about.get("License-Expression") or "", *classifiers, (about.get("License") or "")[:200]])


def kinds(text: str) -> set[str]:
    return {kind for kind, words in KINDS.items() if re.search(words, text, re.I)}


def test_each_dependency_was_reviewed() -> None:
    """By name; a newer version is named in pytest's summary, because releases come every day."""
    names, known = installed(), reviewed()
    assert {"clearml", "wrapt", "requests"} <= names
    assert names - known.keys() == set()
    newer = {name: metadata.version(name) for name in names & known.keys()}
    newer = {name: at for name, at in newer.items() if Version(at) > Version(known[name].version)}
    if newer:
        text = ", ".join(f"{name} {at} (reviewed: {known[name].version})" for name, at in sorted(newer.items()))
        warnings.warn(f"newer than {LIST.name} says: {text}", stacklevel=1)


def test_licences() -> None:
    """Each is the listed one, and none requires more than its text, except MPL 2.0 of those who change its files."""
    known = reviewed()
    found = {name: kinds(licence(name)) for name in installed()}
    others = {name: licence(name) for name, kind in found.items() if not kind or kind - kinds(known[name].licence)}
    assert others == {}
    assert {name for name, line in known.items() if not kinds(line.licence) or "GPL" in kinds(line.licence)} == set()


def test_dependencies_have_no_start_up_files() -> None:
    files = {name: metadata.files(name) or [] for name in installed()}
    assert all(files.values())
    assert {name for name, its in files.items() if any(file.suffix in (".pth", ".start") for file in its)} == set()


@pytest.mark.parametrize(
    "path",
    [
        "autoinstrument/startup/autoinstrument-init.pth",
        "autoinstrument/startup/autoinstrument-init.start",
        "sitecustomize_template/sitecustomize.py",
    ],
)
def test_the_hashes_in_security_md(path: str) -> None:
    digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    assert f"| `{path.split('/')[-1]}` | `{digest}` |" in (ROOT / "SECURITY.md").read_text()


def test_nothing_is_unpickled_or_evaluated() -> None:
    """Input from a server, a socket or a file is data; only the .pth file has `exec`."""
    for path in (ROOT / "autoinstrument").rglob("*.py"):
        found = re.findall(
            r"\b(?:pickle|marshal|shelve)\.loads?\(|(?<![\w.])(?:eval|exec)\((?!\"try)", path.read_text()
        )
        assert found == [], path
