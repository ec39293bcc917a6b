from __future__ import annotations

from tests.unit.repositories import git_settings, process, repository, run

__all__ = [
    "git_settings",
    "process",
    "repository",
    "run",
]  # fixtures
