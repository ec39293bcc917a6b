"""Reads that wait are taken by the sending thread and by the one that ends a run, each read by one of them."""

from __future__ import annotations

from typing import Any

from autoinstrument.transport.reads import Reads


class _TakenMeanwhile(dict[Any, Any]):
    """What was due when it was looked at is taken by another thread before it can be removed."""

    def items(self) -> Any:
        seen = list(super().items())
        self.clear()
        return seen


def test_what_another_thread_has_taken_is_not_taken_again() -> None:
    reads = Reads()
    reads._due = _TakenMeanwhile()
    reads.note("run", "models", lambda: None)
    assert reads.take(now=True) == []
    assert reads.wait_s() is None
