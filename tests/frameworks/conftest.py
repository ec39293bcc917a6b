from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.conftest import (
    clearml_agent,
    database,
    fork_server,
    mlflow_server,
    new_place,
    own_place,
    own_server,
    place,
    sdk_place,
    server,
)
from tests.end_to_end.harness import Place
from tests.frameworks.mirrored import Mirrored, mirrored

__all__ = [
    "clearml_agent",
    "database",
    "fork_server",
    "mlflow_server",
    "new_place",
    "own_place",
    "own_server",
    "place",
    "sdk_place",
    "server",
]  # fixtures


@pytest.fixture
def train(
    own_place: Place,
    own_server: ClearMLServer,
    new_place: Callable[[ClearMLServer | None], Place],
) -> Callable[[str], list[Mirrored]]:
    """Runs a script with the agent and without, checks the promises for any script, and returns its runs with Tasks."""
    own_place.environ |= {"OMP_NUM_THREADS": "1"}  # several scripts share the machine's cores
    plain = new_place(None)
    plain.environ |= own_place.environ
    return lambda script: mirrored(own_place, own_server, plain, script)
