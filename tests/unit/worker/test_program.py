"""The worker process's program, where it cannot be run: there the worker is a thread."""

from __future__ import annotations

import sys

import pytest

from autoinstrument.worker import program


def test_windows_has_no_worker_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(NotImplementedError, match="thread"):
        program.main(3, "folder", "[]", "python")
