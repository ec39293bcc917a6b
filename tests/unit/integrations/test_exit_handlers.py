"""The order of at-exit handlers."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest

from autoinstrument.agent import process_agent
from autoinstrument.integrations import exit_handlers


def test_mlflow_ends_runs_between_the_agents_handlers_and_finalizers_run_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers run last in, first out. A second registration, after MLflow was loaded anew, keeps the order."""
    registered: list[Callable[..., object]] = []

    def unregister(handler: Callable[..., object]) -> None:
        registered[:] = [each for each in registered if each != handler]

    atexit = SimpleNamespace(register=registered.append, unregister=unregister)
    monkeypatch.setattr(exit_handlers, "atexit", atexit)
    monkeypatch.setitem(sys.modules, "atexit", atexit)  # `weakref` imports it for the first finalizer
    monkeypatch.setattr(weakref.finalize, "_registered_with_atexit", False)
    fluent = ModuleType("mlflow.tracking.fluent")
    fluent._safe_end_run = end_runs = lambda: None  # type: ignore[attr-defined]
    registered.append(end_runs)
    exit_handlers.register(fluent)
    exit_handlers.register(fluent)
    assert registered[:1] == [weakref.finalize._exitfunc]  # type: ignore[attr-defined]
    assert [each for each in registered[1:] if each != process_agent.exiting] == [process_agent.finish, end_runs]
    assert registered[-1] == process_agent.exiting
