from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from autoinstrument.transport import worker_folder
from autoinstrument.transport.worker_folder import WorkerFolder
from autoinstrument.transport.worker_key import worker_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no worker is shared")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for workers' folders."""
    monkeypatch.setattr(worker_folder, "_LONGEST", 500)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def folder(runtime: Path) -> WorkerFolder:
    """A shared worker's folder."""
    found = WorkerFolder.shared()
    assert found is not None
    found.make()
    return found


def listen(folder: WorkerFolder) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(folder.path)  # pytest's own folders are too long for the path of a socket
    listener.bind("socket")
    os.chdir(here)
    return listener


def test_a_shared_folder_has_the_users_number_and_the_key_in_its_name(folder: WorkerFolder, runtime: Path) -> None:
    assert folder.path == runtime / f"autoinstrument-{os.getuid()}-{worker_key()}"
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.is_shared
    folder.make()


def test_the_path_of_a_socket_is_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "x" * (worker_folder._LONGEST - 2))
    monkeypatch.setattr(os, "getuid", lambda: 2**32 - 2)
    found = WorkerFolder.shared()
    assert found is not None
    assert found.path.parent == Path(os.environ["XDG_RUNTIME_DIR"])
    assert len(found.socket) < 104


def test_shared_memory_is_used_where_no_other_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose root file system is read-only."""
    monkeypatch.setattr(os, "access", lambda path, _: path == "/dev/shm")
    found = WorkerFolder.shared()
    assert found is not None
    assert found.path.parent == Path("/dev/shm")


def test_a_folder_of_a_random_name_is_not_shared(runtime: Path) -> None:
    private = WorkerFolder.private()
    assert not private.is_shared
    assert private.path.parent == runtime
    (private.path / "anything").touch()
    private.remove()
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("what", ["link", "file", "open to others", "another user's"])
def test_a_folder_that_another_user_may_have_made_is_not_used(
    what: str, folder: WorkerFolder, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.path.rmdir()
    if what == "link":
        (runtime / "elsewhere").mkdir(mode=0o700)
        folder.path.symlink_to(runtime / "elsewhere")
    elif what == "file":
        folder.path.touch()
    else:
        folder.path.mkdir(mode=0o700)
        if what == "open to others":
            folder.path.chmod(0o710)
        else:
            monkeypatch.setattr(os, "getuid", lambda: folder.path.stat().st_uid + 1)
    assert not folder.is_trusted()
    with pytest.raises(PermissionError, match="not a private folder"):
        folder.make()


def test_one_process_at_a_time_has_the_lock(folder: WorkerFolder) -> None:
    with folder.try_lock() as is_locked, folder.try_lock() as is_locked_too:
        assert (is_locked, is_locked_too) == (True, False)
    with folder.try_lock() as is_locked:
        assert is_locked


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(folder: WorkerFolder) -> None:
    read_end, write_end = os.pipe()
    with folder.try_lock():
        pid = os.fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
    try:
        with folder.try_lock() as is_locked:
            assert is_locked
    finally:
        os.close(write_end)
        os.waitpid(pid, 0)
        os.close(read_end)


def test_a_removed_folder_cannot_be_locked(folder: WorkerFolder) -> None:
    """Its worker may have ended between opening the file and locking it."""
    import fcntl

    real = fcntl.flock

    def late(file: int, operation: int) -> None:
        fcntl.flock = real
        (folder.path / "lock").unlink()
        real(file, operation)

    fcntl.flock = late
    try:
        with folder.try_lock() as is_locked:
            assert not is_locked
    finally:
        fcntl.flock = real
    folder.path.rmdir()
    with folder.try_lock() as is_locked:
        assert not is_locked


def test_a_folder_is_found_by_a_run_until_it_is_forgotten(folder: WorkerFolder) -> None:
    folder.publish("0123abc")
    found = WorkerFolder.of_run("0123abc")
    assert found is not None
    assert found.path == folder.path
    assert WorkerFolder.of_run("another") is None
    assert WorkerFolder.of_run("../*") is None, "no run's id"
    folder.path.chmod(0o755)
    assert WorkerFolder.of_run("0123abc") is None
    folder.path.chmod(0o700)
    folder.forget_run("0123abc")
    folder.forget_run("0123abc")
    assert WorkerFolder.of_run("0123abc") is None


def test_the_next_worker_removes_the_remains_of_a_killed_one_and_of_dead_processes(
    folder: WorkerFolder,
) -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    os.waitpid(pid, 0)
    listen(folder).close()
    folder.publish("run")
    for name in ("lock", f"exit-code-{pid}", f"exit-code-{os.getpid()}"):
        (folder.path / name).touch()
    assert folder.identity() is not None
    folder.clear()
    assert {path.name for path in folder.path.iterdir()} == {"lock", f"exit-code-{os.getpid()}"}
    assert folder.identity() is None


def test_a_folder_goes_with_its_worker(folder: WorkerFolder, runtime: Path) -> None:
    folder.publish("run")
    folder.remove()
    assert list(runtime.iterdir()) == []
    folder.remove()


@pytest.mark.parametrize("why", ["another worker listens", "another worker is started", "a process needs it"])
def test_a_folder_that_others_use_stays(why: str, folder: WorkerFolder) -> None:
    if why == "another worker listens":
        with listen(folder):
            folder.remove()
    elif why == "another worker is started":
        with folder.try_lock():
            folder.remove()
    else:
        (folder.path / f"exit-code-{os.getpid()}").touch()
        folder.remove()
    assert folder.path.is_dir()
    assert (folder.path / "lock").exists()


def test_many_threads_make_one_folder(folder: WorkerFolder) -> None:
    folder.path.rmdir()
    threads = [threading.Thread(target=folder.make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder.is_trusted()
