from __future__ import annotations

import signal
import sys

import pytest

from autoinstrument.worker import termination
from autoinstrument.worker.termination import Termination


def test_a_grace_period_begins_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was not killed after ten minutes goes on as before."""
    now = 1000.0
    monkeypatch.setattr(termination.time, "monotonic", lambda: now)
    looked_at = Termination()
    assert not looked_at.is_requested
    looked_at.request(signal.SIGTERM)
    assert looked_at.is_requested
    now += 599
    assert looked_at.is_requested
    now += 2
    assert not looked_at.is_requested


def test_on_windows_signals_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "platform", "win32")
    termination.ignore_signals()
    assert signal.getsignal(signal.SIGTERM) is before
