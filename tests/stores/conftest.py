from __future__ import annotations

from tests.end_to_end.conftest import (
    clearml_agent,
    database,
    fork_server,
    mlflow_server,
    new_place,
    own_place,
    own_server,
    place,
    server,
)

__all__ = [
    "clearml_agent",
    "database",
    "fork_server",
    "mlflow_server",
    "new_place",
    "own_place",
    "own_server",
    "place",
    "server",
]  # fixtures
