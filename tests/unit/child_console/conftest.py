from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoinstrument.bootstrap import training_around
from autoinstrument.records import Record
from autoinstrument.transport.protocol import Reader


class Listener:
    """A worker's socket, and what has arrived at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[Record] = []
        self.connections: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "socket"))
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        reader = Reader()
        while True:
            try:
                data = connection.recv(2**16)
            except OSError:
                return
            if not data:
                return
            self.records += reader.feed(data)

    def close(self) -> None:
        self._socket.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # the other end has closed it
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def wait_for(self, number: int) -> list[Record]:
        """Return the records as soon as there are so many."""
        end = time.monotonic() + 60
        while len(self.records) < number and time.monotonic() < end:
            time.sleep(0.01)
        return self.records


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of marks' and workers' folders; this process is not a rank."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for variable in (*training_around._RANKS, *training_around._SIZES, "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def worker(runtime: Path) -> Iterator[Listener]:
    folder = runtime / "w"
    folder.mkdir(mode=0o700)
    listener = Listener(folder)
    yield listener
    listener.close()


@pytest.fixture
def marks_folder(runtime: Path) -> Path:
    return runtime / f"autoinstrument-{os.getuid()}-marks"


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait
