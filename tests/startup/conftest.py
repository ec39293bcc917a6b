from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.startup.environment import Environment

OLDEST, NEWEST = "3.10", "3.13"
_DEFAULT = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Pair(NamedTuple):
    """An environment with the wheel and nothing else in it, and one with another project's .pth file instead.

    The second shows what Python loads for any .pth file (`encodings.utf_8_sig` since 3.13).
    """

    installed: Environment
    bare: Environment


@pytest.fixture(
    scope="session", params=["", *sorted({OLDEST, NEWEST} - {_DEFAULT})], ids=lambda version: version or _DEFAULT
)
def pair(request: pytest.FixtureRequest, new_environment: Callable[[str], Environment], wheel: Path) -> Pair:
    return Pair(new_environment(request.param).install(wheel), new_environment(request.param).add_to_path("/nowhere"))


@pytest.fixture(scope="session")
def light(pair: Pair) -> Environment:
    """The wheel alone, without a dependency, on each Python."""
    return pair.installed


@pytest.fixture
def breakable(light: Environment, tmp_path: Path) -> Environment:
    """A copy of it, which the test may break."""
    return light.copy(tmp_path / "venv")
