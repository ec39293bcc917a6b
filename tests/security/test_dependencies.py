"""What comes with this package has licences that ask for nothing but their text, and SECURITY.md says what is true."""

from __future__ import annotations

import hashlib
import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.startup.environment import ROOT

PERMISSIVE = re.compile(r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|HPND|Zlib)\b", re.I)
WEAK = {"certifi", "tqdm", "pathspec", "orderedmultidict"}
"""MPL 2.0, or a choice with it: used as they are, and nothing of theirs is copied."""


def runtime_dependencies() -> set[str]:
    """Return the names of all distributions that this package needs, and of those that these need, as installed."""
    waiting, found = [Requirement("autoinstrument")], set[str]()
    while waiting:
        requirement = waiting.pop()
        if requirement.name.lower() in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(requirement.name.lower())
        waiting += [Requirement(line) for line in metadata.requires(requirement.name) or []]
    return found - {"autoinstrument"}


def licence(name: str) -> str:
    about = metadata.metadata(name)
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    return " ".join([about.get("License-Expression") or "", *classifiers, (about.get("License") or "")[:200]])


def test_licences() -> None:
    names = runtime_dependencies()
    assert {"clearml", "wrapt", "requests"} <= names
    doubtful = {name: licence(name) for name in names - WEAK if not PERMISSIVE.search(licence(name))}
    assert doubtful == {}
    copyleft = {name for name in names if re.search(r"\b[AL]?GPL", licence(name))}
    assert copyleft == set()


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
    """What comes back from a server, a socket or a file is data; `exec` is in the .pth file alone."""
    for path in (ROOT / "autoinstrument").rglob("*.py"):
        found = re.findall(
            r"\b(?:pickle|marshal|shelve)\.loads?\(|(?<![\w.])(?:eval|exec)\((?!\"try)", path.read_text()
        )
        assert found == [], path
