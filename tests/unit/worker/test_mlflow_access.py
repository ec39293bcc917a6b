"""MLflow is loaded before it is called, by one thread at a time, and a slow import is no store that hangs."""

from __future__ import annotations

import threading
import time
import traceback

import pytest

from autoinstrument.clearml_api.deadline import OverdueError
from autoinstrument.mlflow_store import training_stores
from autoinstrument.worker import mlflow_access
from autoinstrument.worker.mlflow_access import MLflowAccess

URI = "http://mlflow.example"


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done in what order; the import takes longer than a call may."""
    events: list[str] = []
    importing = threading.Lock()

    def load(_: str) -> None:
        with importing:
            if "loaded" not in events:
                time.sleep(0.3)
                events.append("loaded")

    monkeypatch.setattr(mlflow_access, "import_clients", load)
    monkeypatch.setattr(mlflow_access, "LIMIT_S", 0.1)
    monkeypatch.setattr(training_stores, "_watched", False)
    return events


def test_a_call_waits_until_mlflow_is_loaded(events: list[str]) -> None:
    access = MLflowAccess()
    preparing = threading.Thread(target=access.prepare, args=(URI,))
    preparing.start()
    access.ask(URI, lambda: events.append("called"))
    preparing.join()
    assert events == ["loaded", "called"]


def test_a_store_that_hangs_is_left(events: list[str]) -> None:
    access, answer = MLflowAccess(), threading.Event()
    with pytest.raises(OverdueError):
        access.ask(URI, answer.wait)
    assert not access.is_due(URI)
    answer.set()


def test_the_error_of_a_store_that_is_left_alone_holds_no_callers(events: list[str]) -> None:
    """Its traceback would grow with each run that asks, and keep the data of all of them in memory."""
    access = MLflowAccess()

    def fail() -> None:
        raise OSError("gone")

    def frames() -> int:
        with pytest.raises(OSError, match="gone") as raised:
            access.ask(URI, fail)
        return sum(1 for _ in traceback.walk_tb(raised.value.__traceback__))

    frames()
    assert not access.is_due(URI)
    first = frames()
    assert [frames() for _ in range(3)] == [first] * 3


def test_a_thread_of_the_training_imports_nothing(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_stores, "_watched", True)
    assert MLflowAccess().ask(URI, lambda: 1) == 1
    assert not events
