from __future__ import annotations

import re

import pytest

from autoinstrument.versions import CLEARML, MLFLOW, NEWEST_PYTHON, OLDEST_PYTHON, WRAPT, Supported
from tests.startup.environment import ROOT


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("2.15.1", False), ("2.16.0", True), ("2.16.0rc1", True), ("3.17.0.dev0", True), ("3.0", True),
        ("4.0.0", False), ("1.99", False), ("", False),
    ],
)  # fmt: skip
def test_which_versions_are_supported(version: str, supported: bool) -> None:
    assert Supported((2, 16), 3).covers(version) is supported


def test_as_text() -> None:
    assert str(MLFLOW) == "2.16 to 3.x"


def test_the_project_requires_the_same() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for name, supported in {"mlflow": MLFLOW, "clearml": CLEARML, "wrapt": WRAPT}.items():
        oldest = ".".join(map(str, supported.oldest))
        assert f'"{name}>={oldest},<{supported.newest_major + 1}"' in text
    assert f'requires-python = ">={OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}"' in text
    pythons = [(3, int(minor)) for minor in re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', text)]
    assert (min(pythons), max(pythons)) == (OLDEST_PYTHON, NEWEST_PYTHON)
