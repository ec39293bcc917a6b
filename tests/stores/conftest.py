from __future__ import annotations

from tests.end_to_end.conftest import (
    database,
    fork_server,
    mlflow_server,
    new_place,
    own_place,
    own_server,
    place,
    server,
)
from tests.unit.conftest import client

__all__ = [
    "client",
    "database",
    "fork_server",
    "mlflow_server",
    "new_place",
    "own_place",
    "own_server",
    "place",
    "server",
]  # fixtures
