from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoinstrument.records import ProcessExiting
from autoinstrument.transport import exit_status, forks, own_python, worker_process
from autoinstrument.transport.connection import Connection
from autoinstrument.transport.protocol import read_all


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder for workers' folders."""
    monkeypatch.setattr(worker_process, "_LONGEST_FOLDER", 500)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("AUTOINSTRUMENT_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_worker_that_is_a_thread_answers_and_takes_its_folder_away(runtime: Path) -> None:
    worker = worker_process.start("thread")
    assert worker.folder.parent == runtime
    assert worker.is_thread
    worker.settle()
    worker.publish("run")
    assert worker_process.find("run") is None, "no other process can use it"
    connection = Connection(worker.connect())
    connection.send([ProcessExiting("", False, 10.0)])
    with connection.receiving_side() as receiving:
        (answer,) = (next(read_all(receiving)),)
    assert type(answer).__name__ == "Delivered"
    connection.close()


def test_on_windows_a_worker_is_a_thread(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = SimpleNamespace(platform="win32")
    for module in (worker_process, exit_status, forks, own_python):
        monkeypatch.setattr(module, "sys", windows)
    worker = worker_process.start("process")
    assert worker.is_thread
    assert worker_process.find("run") is None
    with worker.connect(), pytest.raises(OSError, match="a thread"):
        worker.connect()
    assert not exit_status.watch(runtime)
    forks.without_threads(lambda: pytest.fail("no fork"), lambda: None)


def test_a_published_worker_is_found_by_its_run(runtime: Path) -> None:
    folder = runtime / "autoinstrument-abc"
    folder.mkdir()
    worker_process.WorkerHandle(folder).publish("0123abc")
    found = worker_process.find("0123abc")
    assert found is not None
    assert (found.folder, found.joined, found.is_thread) == (folder, True, False)
    assert worker_process.find("another") is None
    assert worker_process.find("../*") is None, "no run's id"
    with pytest.raises(OSError, match=r".+"):
        found.connect()


def test_a_worker_that_is_another_users_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the folder's mode is: it is the kernel that says whose process listens."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        listener.listen()
        worker = worker_process.WorkerHandle(Path())
        worker.connect().close()
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
        with pytest.raises(PermissionError, match=f"belongs to user {user}"):
            worker.connect()


def test_no_folder_is_left_where_no_worker_can_be_started(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_python, "interpreter", lambda: str(runtime / "missing"))
    with pytest.raises(OSError, match="missing"):
        worker_process.start("process")
    assert list(runtime.iterdir()) == []
