"""A ClearML server and an MLflow store of the test's own, in this process, which the agent's code and commands find."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoinstrument.clearml_api import attempts, backoff
from tests.clearml_server import ClearMLServer
from tests.empty_store import database as database
from tests.end_to_end.cheap_stores import make_stores_cheap

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient  # takes 3 s; the process that hands out the tests does without it

Configure = Callable[[str, Any], None]


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ or not config.getoption("numprocesses", None):
        make_stores_cheap()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, for tiers that hold more folders."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("unit")


@pytest.fixture(autouse=True)
def short_pauses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a server or store that failed again soon, and let workers send often, so that tests take no seconds."""
    if request.node.get_closest_marker("real_pauses"):
        return
    from autoinstrument.worker import service  # takes 0.2 s; see above

    monkeypatch.setattr(attempts, "jittered", lambda least_s, most_s: 0.02)
    monkeypatch.setattr(backoff, "_RETRY_S", 0.1)
    monkeypatch.setattr(service, "_FLUSH_S", 0.2)


@contextmanager
def running_server() -> Iterator[ClearMLServer]:
    """Run a ClearML server whose addresses and credentials are in the environment."""
    from autoinstrument.sync import stored_run

    with ClearMLServer() as running, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_run, "_local", threading.local())  # it holds a session with the server before
        for name, value in running.environ.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def server() -> Iterator[ClearMLServer]:
    with running_server() as running:
        yield running


def sdk_task(task_id: str) -> Any:
    """Return a Task of the present server as a user reads it with ClearML's SDK."""
    from clearml import Task
    from clearml.backend_interface.base import InterfaceBase
    from clearml.storage.helper import StorageHelper, _HttpDriver

    InterfaceBase._default_session = None  # it is of the server that the SDK saw first, as are these
    StorageHelper._helpers.clear()
    _HttpDriver._file_server_hosts = None
    return Task.get_task(task_id)


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Sets a value of the section `sdk` of ClearML's configuration, as `clearml.conf` would."""
    from clearml.config import config_obj

    tree, before = config_obj.get("sdk"), dict[str, Any]()

    def put(name: str, value: Any) -> None:
        before.setdefault(name, tree.get(name, None))
        tree.put(name, value)

    yield put
    for name, value in before.items():
        tree.put(name, value)


@pytest.fixture
def client(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A tracking store of the test's own, which is also the one that commands find."""
    from mlflow.tracking import MlflowClient

    shutil.copy(database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    return MlflowClient(tracking_uri=uri)
