from __future__ import annotations

from tests.end_to_end.conftest import database, fork_server, new_place, own_place, own_server

__all__ = ["database", "fork_server", "new_place", "own_place", "own_server"]  # fixtures
