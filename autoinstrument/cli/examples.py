"""Examples below the help of a command."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return the `epilog` of a command: its examples, a line each, which click must not join."""
    return "\n".join(("\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)))
