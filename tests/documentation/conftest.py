from __future__ import annotations

from tests.end_to_end.conftest import database, fork_server, new_place, place, server

__all__ = ["database", "fork_server", "new_place", "place", "server"]  # fixtures
