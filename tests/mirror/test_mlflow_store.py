"""How MLflow's store is spoken to: where a tracking URI leads, and that no fork waits for a server."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from autoinstrument.clone_run.settings import is_elsewhere
from autoinstrument.mlflow_store.client import store_access
from autoinstrument.mlflow_store.urls import local_store


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////srv/my runs/mlflow.db?timeout=5", "/srv/my runs/mlflow.db"),
        ("sqlite+pysqlite:////srv/a%20b.db", "/srv/a%20b.db"),
        ("file:///srv/my%20runs", "/srv/my runs"),
        ("file:/srv/runs", "/srv/runs"),
        ("/srv/my runs", "/srv/my runs"),
        ("sqlite:///:memory:", None),
        ("http://host/srv", None),
        ("postgresql://u:p@host/db", None),
        ("databricks", None),
    ],
)
def test_a_store_of_this_machine_has_a_path(uri: str, path: str | None) -> None:
    assert local_store(uri) == (path and Path(path))
    assert is_elsewhere(uri) == (path is not None)


def test_a_relative_store_is_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_store("sqlite:///mlflow.db") == tmp_path / "mlflow.db"
    assert local_store("./my runs") == tmp_path / "my runs"
    assert not is_elsewhere("./my runs")
    (tmp_path / "my runs").mkdir()
    assert not is_elsewhere((tmp_path / "my runs").as_uri())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks")
def test_a_fork_waits_for_no_server_that_hangs() -> None:
    """As in a data loader that starts its processes while a thread of ours waits for the tracking server."""
    held, over = threading.Event(), threading.Event()

    def ask() -> None:
        with store_access("http://tracking"):
            held.set()
            over.wait(3)

    asking = threading.Thread(target=ask)
    asking.start()
    held.wait()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            with store_access("http://tracking"):  # whose own lock nobody holds
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert asking.is_alive()
    over.set()
    asking.join()
