from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoinstrument.records import ProcessExiting
from autoinstrument.transport import exit_status, forks, own_python, worker_folder, worker_process
from autoinstrument.transport.connection import Connection
from autoinstrument.transport.forkable_threads import ThreadStopsError
from autoinstrument.transport.protocol import is_ready, read_all
from autoinstrument.transport.worker_folder import WorkerFolder
from autoinstrument.transport.worker_process import WorkerHandle
from tests.unit.transport.worker import PATIENCE_S

no_windows = pytest.mark.skipif(sys.platform == "win32", reason="no worker is shared")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one folder for workers' folders. Not pytest's own: the path of a Unix socket is short."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setattr(worker_folder, "_LONGEST", 80)
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("AUTOINSTRUMENT_HOME", f"{folder}/home")
        yield Path(folder)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """The listening sockets of the workers that were started: none of them is a process."""
    listeners: list[socket.socket] = []

    def start(folder: WorkerFolder) -> None:
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(folder.socket)
        listeners[-1].listen(64)

    monkeypatch.setattr(worker_process, "_start_process", start)
    yield listeners
    for listener in listeners:
        listener.close()


def test_a_worker_that_is_a_thread_answers_and_takes_its_folder_away(runtime: Path) -> None:
    worker = worker_process.start("thread")
    assert worker.folder.path.parent == runtime
    assert worker.is_thread
    worker.settle()
    worker.publish("run")
    assert worker_process.find("run") is None, "no other process can use it"
    connection = Connection(worker.connect())
    connection.send([ProcessExiting("", False, 10.0)])
    with connection.receiving_side() as receiving:
        answers = read_all(receiving)
        assert is_ready(next(answers))
        assert type(next(answers)).__name__ == "Delivered"
    connection.close()


@no_windows
def test_the_wait_for_a_workers_start_ends_where_the_process_is_about_to_fork(runtime: Path) -> None:
    """Called again afterwards, it goes on waiting."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        worker = WorkerHandle(WorkerFolder.private(), process=process)
        for _ in range(2):
            with pytest.raises(ThreadStopsError):
                worker.settle(lambda: True)
        process.communicate(b"\n")
    worker.settle(lambda: True)


def test_on_windows_a_worker_is_a_thread(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = SimpleNamespace(platform="win32")
    for module in (worker_process, worker_folder, exit_status, forks, own_python):
        monkeypatch.setattr(module, "sys", windows)
    assert worker_process.share(0.0) is None
    worker = worker_process.start("process")
    assert worker.is_thread
    assert worker_process.find("run") is None
    with worker.connect(), pytest.raises(OSError, match="a thread"):
        worker.connect()
    assert not exit_status.watch(runtime)
    assert not exit_status.is_left_over("exit-code-1")
    forks.without_threads(lambda: pytest.fail("no fork"), lambda: None)


@no_windows
def test_a_published_worker_is_found_by_its_run(runtime: Path) -> None:
    folder = runtime / "autoinstrument-abc"
    folder.mkdir(mode=0o700)
    WorkerHandle(WorkerFolder(folder)).publish("0123abc")
    found = worker_process.find("0123abc")
    assert found is not None
    assert (found.folder.path, found.is_thread) == (folder, False)
    assert worker_process.find("another") is None
    with pytest.raises(OSError, match=r".+"):
        found.connect()
    found.leave()
    assert folder.exists(), "another process has started the worker"


def test_a_worker_that_is_another_users_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the folder's mode is: it is the kernel that says whose process listens."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        listener.listen()
        worker = WorkerHandle(WorkerFolder(Path()))
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


@no_windows
def test_no_folder_is_left_where_no_shared_worker_can_be_started(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_python, "interpreter", lambda: str(runtime / "missing"))
    with pytest.raises(OSError, match="missing"):
        worker_process.share(0.0)
    assert list(runtime.iterdir()) == []


@no_windows
def test_processes_that_start_in_the_same_moment_end_with_one_worker(
    runtime: Path, started: list[socket.socket]
) -> None:
    """Here threads, each of which has the lock file open by itself, as a process has."""
    found: list[WorkerHandle | None] = []
    barrier = threading.Barrier(16)

    def share() -> None:
        barrier.wait()
        found.append(worker_process.share(PATIENCE_S))

    threads = [threading.Thread(target=share) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    connections = [worker.connect() for worker in found if worker is not None]
    assert len(connections) == 16
    started[0].settimeout(PATIENCE_S)
    for connection in connections:
        started[0].accept()[0].close()
        connection.close()


@no_windows
def test_a_worker_that_was_killed_is_replaced_and_one_that_lives_is_not(
    runtime: Path, started: list[socket.socket]
) -> None:
    def use() -> None:
        worker = worker_process.share(PATIENCE_S)
        assert worker is not None
        worker.connect().close()
        worker.connect().close()

    use()
    use()
    assert len(started) == 1
    folder = WorkerFolder.shared()
    assert folder is not None
    folder.publish("run")
    started[0].close()
    use()
    assert len(started) == 2
    assert worker_process.find("run") is None, "the killed one's runs are not the next one's"


@no_windows
def test_a_process_that_holds_the_lock_is_not_waited_for_for_ever(runtime: Path, started: list[socket.socket]) -> None:
    """It was stopped while it started the worker: others need a worker of their own."""
    folder = WorkerFolder.shared()
    assert folder is not None
    folder.make()
    with folder.try_lock(), pytest.raises(TimeoutError):
        worker_process.share(0.01)
    assert started == []


@no_windows
def test_a_worker_to_which_too_many_connect_is_not_replaced(runtime: Path, started: list[socket.socket]) -> None:
    worker = worker_process.share(0.0)
    assert worker is not None
    started[0].listen(0)
    waiting = [worker.connect()]
    with pytest.raises(BlockingIOError):
        worker.connect()
    with pytest.raises(TimeoutError):
        worker_process.share(0.01)
    assert len(started) == 1
    for connection in waiting:
        connection.close()


@no_windows
@pytest.mark.parametrize("what", ["no folder", "another user's folder"])
def test_without_a_folder_that_can_be_trusted_no_worker_is_shared(
    what: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = WorkerFolder.shared()
    assert folder is not None
    if what == "no folder":
        monkeypatch.setattr(worker_folder, "runtime_folders", list)
    else:
        folder.path.mkdir(mode=0o777)
        folder.path.chmod(0o777)
    assert worker_process.share(0.0) is None
