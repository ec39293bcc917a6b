from __future__ import annotations

import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking._tracking_service import client as module

from autoinstrument.agent import process_agent
from autoinstrument.integrations.mlflow_tracking import instrument_client
from autoinstrument.mlflow_store import training_stores
from autoinstrument.records import MetricsLogged, Point, Record, RunEnded
from autoinstrument.settings import Settings
from tests.end_to_end.conftest import database as database
from tests.unit.repositories import git_settings as git_settings
from tests.unit.repositories import process as process
from tests.unit.repositories import repository as repository
from tests.unit.repositories import run as run


class Recorder:
    """Stands in for `autoinstrument.agent.Agent`: keeps the records that the wrappers hand over, and sends nothing.

    A real agent would capture this process's console and start a worker.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.is_exiting = False
        self.records: list[Any] = []
        self.reads: dict[tuple[str, str], Callable[[], Record | None]] = {}
        """Reads that were asked for, by run and kind."""
        self.tracking_uri = ""
        self.runs: list[str] = []
        """Runs that were introduced."""

    def post(self, item: Any, run_id: str = "") -> None:
        record = item() if callable(item) else item
        if record is not None:
            self.records.append(record)

    def post_point(self, run_id: str, point: Point) -> bool:
        if self.knows(run_id):
            self.post(MetricsLogged(run_id, [point]))
        return self.knows(run_id)

    def post_soon(self, run_id: str, kind: str, read: Callable[[], Record | None]) -> None:
        self.reads.setdefault((run_id, kind), read)  # the first serves all changes until it is made

    def has_room(self, size: int) -> bool:
        return True

    def knows(self, run_id: str) -> bool:
        return run_id in self.runs

    def is_open(self, run_id: str) -> bool:
        return run_id in self.runs

    def latest_open_run(self) -> str:
        return self.runs[-1] if self.runs else ""

    def tracking_uri_of(self, run_id: str) -> str:
        return self.tracking_uri

    def is_left_alone(self, run_id: str) -> bool:
        return False

    def artifact_root(self, run_id: str) -> str:
        return "s3://bucket"

    def workspace_of(self, run_id: str) -> str:
        return ""

    def run_started(self, run_id: str, make: Callable[[], Record | None], **_: Any) -> None:
        self.runs.append(run_id)
        self.post(make)

    def run_ended(self, ended: RunEnded) -> None:
        self.post(ended)

    def of_type(self, kind: type[Any]) -> list[Any]:
        """Return the records of one type."""
        return [record for record in self.records if isinstance(record, kind)]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The recorder that the wrappers use as this process's agent."""
    recorder = Recorder()
    monkeypatch.setattr(process_agent, "_agent", recorder)
    monkeypatch.setattr(process_agent, "_is_settled", True)
    monkeypatch.setattr(training_stores, "_watched", False)  # instrumenting a client makes it true
    return recorder


@pytest.fixture
def uri(tmp_path: Path, database: Path) -> str:
    """The address of an empty store."""
    shutil.copy(database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def copied(module: types.ModuleType, class_name: str) -> types.ModuleType:
    """Return a module that has a copy of a class, to be wrapped: the real class stays as it is for other tests."""
    original = getattr(module, class_name)
    copy = types.ModuleType(module.__name__)
    attributes = {name: value for name, value in vars(original).items() if name not in ("__dict__", "__weakref__")}
    vars(copy).update(vars(module), **{class_name: type(class_name, original.__bases__, attributes)})
    return copy


@pytest.fixture
def client(uri: str, recorder: Recorder) -> Any:
    """A wrapped client of MLflow's."""
    copy = copied(module, "TrackingServiceClient")
    instrument_client(copy)
    return copy.TrackingServiceClient(uri)


@pytest.fixture
def run_id(client: Any) -> str:
    return str(client.create_run("0", run_name="one", tags={"a": "b"}).info.run_id)
