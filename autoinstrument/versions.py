"""The supported versions of Python and of other libraries; pyproject.toml requires the same."""

from __future__ import annotations

from typing import NamedTuple


class Supported(NamedTuple):
    """Versions from the oldest one (major, minor) to the last of a major version."""

    oldest: tuple[int, int]
    newest_major: int

    def covers(self, version: str) -> bool:
        """Return True if a version, as in "2.16.0rc1", is supported."""
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        return numbers >= self.oldest and numbers[0] <= self.newest_major

    def __str__(self) -> str:
        return f"{self.oldest[0]}.{self.oldest[1]} to {self.newest_major}.x"


MLFLOW = Supported((2, 16), 3)
CLEARML = Supported((1, 16), 2)
WRAPT = Supported((1, 15), 2)

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)
