"""A worker ends at the right time, and still serves each process that has found it."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoinstrument.transport import worker_folder
from autoinstrument.transport.worker_folder import WorkerFolder
from autoinstrument.worker import lifetime as lifetime_module
from autoinstrument.worker.lifetime import Lifetime
from autoinstrument.worker.termination import Termination
from tests.unit.transport.worker import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there the worker is a thread")

NEVER_S = 1000.0


class Serving:
    """A worker's lifetime, and the processes that are connected to it."""

    def __init__(self, folder: WorkerFolder, linger_s: float) -> None:
        self.folder = folder
        self.processes: list[socket.socket] = []
        self.has_hope = True
        self.lifetime = Lifetime(folder, linger_s, lambda: self.has_hope)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(folder.socket)
        self.listener.listen(8)
        self.lifetime.listen(self.listener, self.processes.append)

    def connect(self) -> socket.socket:
        """Connect as a training process does; return its end."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.folder.socket)
        return connection

    def serve_one(self) -> None:
        """Serve a process to its end."""
        with self.connect():
            wait_for(lambda: self.processes)
            assert not self.is_over
        self.processes.clear()

    @property
    def is_over(self) -> bool:
        return self.lifetime.is_over(lambda: bool(self.processes))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerFolder]:
    with tempfile.TemporaryDirectory(prefix="t-") as runtime:
        monkeypatch.setattr(worker_folder, "_LONGEST", 80)
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        monkeypatch.setenv("HOME", runtime)
        monkeypatch.delenv("CLEARML_CONFIG_FILE", raising=False)
        found = WorkerFolder.shared()
        assert found is not None
        found.make()
        yield found


def test_a_worker_waits_for_a_first_process_longer_than_it_stays_after_it(
    folder: WorkerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving(folder, 0.0)
    assert not serving.is_over
    serving.serve_one()
    assert serving.is_over
    assert folder.identity() is None, "nobody finds it any more"
    monkeypatch.setattr(lifetime_module, "_FIRST_S", 0.0)
    assert Serving(folder, NEVER_S).is_over, "none has ever come"


def test_a_shared_worker_stays_for_a_while_and_each_process_begins_it_anew(
    folder: WorkerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(lifetime_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    serving = Serving(folder, 30.0)
    for _ in range(3):
        serving.serve_one()
        assert not serving.is_over
        now_s += 29
    assert not serving.is_over
    now_s += 2
    assert serving.is_over


def test_a_worker_that_is_not_shared_does_not_stay(folder: WorkerFolder) -> None:
    serving = Serving(WorkerFolder.private(), NEVER_S)
    serving.serve_one()
    assert serving.is_over


@pytest.mark.parametrize(
    "what", ["the socket", "the folder", "another socket", "the configuration", "a signal", "ClearML"]
)
def test_a_worker_of_no_further_use_does_not_stay(
    what: str, folder: WorkerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving(folder, NEVER_S)
    serving.serve_one()
    assert not serving.is_over
    if what == "the configuration":
        (folder.path.parent / "clearml.conf").write_text("api {}")
    elif what == "a signal":
        monkeypatch.setattr(lifetime_module, "termination", Termination())
        lifetime_module.termination.request()
    elif what == "ClearML":
        serving.has_hope = False
    else:
        Path(folder.socket).unlink()
        if what == "the folder":
            folder.path.rmdir()
    if what == "another socket":
        other = socket.socket(socket.AF_UNIX)
        other.bind(folder.socket)
    assert serving.is_over
    assert (folder.identity() is not None) is (what == "another socket"), "which is another worker's"


def test_a_process_that_has_found_the_worker_is_served_when_it_ends(
    folder: WorkerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection waits to be accepted at the moment when the socket is taken away."""
    serving = Serving(folder, 0.0)
    serving.serve_one()
    clear = WorkerFolder.clear
    late: list[socket.socket] = []

    def connect_first(this: WorkerFolder) -> None:
        with serving.lifetime._accepting:  # the other thread comes too late
            late.append(serving.connect())
            clear(this)

    monkeypatch.setattr(WorkerFolder, "clear", connect_first)
    assert not serving.is_over
    assert len(serving.processes) == 1
    assert folder.identity() is None
    assert not serving.is_over, "the process is there"
    serving.processes.clear()
    assert serving.is_over
    late[0].close()


def test_a_worker_does_not_end_while_another_process_looks_for_it(folder: WorkerFolder) -> None:
    """The process that holds the lock is about to connect, or to start another worker if that fails."""
    serving = Serving(folder, 0.0)
    serving.serve_one()
    with folder.try_lock():
        assert not serving.is_over
        assert folder.identity() is not None
    assert serving.is_over
