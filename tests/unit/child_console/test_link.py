"""Text reaches the worker of the process with the run, in the protocol's frames; the writer never waits for that."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoinstrument.child_console import link, marks
from autoinstrument.child_console.link import ConsoleLink
from autoinstrument.child_console.process_table import identity
from autoinstrument.records import ConsoleWritten, ProcessJoined, has_right_types
from tests.unit.child_console.conftest import Listener

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no marks on Windows")


@pytest.fixture
def parent(worker: Listener, monkeypatch: pytest.MonkeyPatch) -> int:
    """This process's parent, which has a run and the same console."""
    marks.leave(str(worker.folder), owned=True)
    (folder,) = worker.folder.parent.glob("*-marks")
    target = str((folder / identity(os.getpid())).readlink()).partition(":")[2]
    (folder / identity(os.getppid())).symlink_to(f"{os.getppid()}:{target}")
    monkeypatch.setattr(link, "_LOOK_S", 0.0)
    monkeypatch.setattr(link, "process_name", lambda: 'a "child"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    return os.getppid()


def test_text_arrives(parent: int, worker: Listener) -> None:
    sender = ConsoleLink()
    sender.write("stdout", 'ä "\n', 5)
    sender.write("stderr", "\ud800\x00\n", 6)
    joined, *texts = worker.wait_for(3)
    assert joined == ProcessJoined(os.getpid(), parent, 'a "child"', {"CUDA_VISIBLE_DEVICES": "1"})
    assert has_right_types(joined)
    assert texts == [ConsoleWritten("stdout", 'ä "\n', 5), ConsoleWritten("stderr", "\ud800\x00\n", 6)]
    sender.close()


def test_text_for_another_file_is_not_the_console(parent: int, worker: Listener) -> None:
    """The script reads what a sub-process writes to a pipe, and shows it or not."""
    sender = ConsoleLink()
    before, (reading, writing) = os.dup(1), os.pipe()
    try:
        os.dup2(writing, 1)
        sender.write("stdout", "into the pipe\n", 1)
    finally:
        os.dup2(before, 1)
        for descriptor in (before, reading, writing):
            os.close(descriptor)
    sender.write("stdout", "shown\n", 2)
    assert [each.text for each in worker.wait_for(2) if isinstance(each, ConsoleWritten)] == ["shown\n"]
    sender.close()


def test_text_waits_for_a_run_and_the_oldest_is_dropped(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MOST_CHARACTERS", 10)
    sender = ConsoleLink()
    for text in ("one", "two", "three", "four"):
        sender.write("stdout", text, 1)
    assert [text for _, text, _ in sender.take()] == ["three", "four"]
    assert sender.take() == []


class _Slow(str):
    """A text that gives other threads a turn while it is counted."""

    __slots__ = ()

    def __len__(self) -> int:
        time.sleep(0.0001)
        return super().__len__()


def test_threads_that_write_at_once_miscount_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If they do, the count of the characters grows, until each text is dropped as if too many waited."""
    monkeypatch.setattr(link, "MOST_CHARACTERS", 1000)
    sender = ConsoleLink()
    sent: list[bytes] = []
    monkeypatch.setattr(sender, "_connect", lambda: True)
    monkeypatch.setattr(sender, "_send", lambda: sent.append(sender._next_frame()) or True)

    def write(_: int) -> None:
        for number in range(1000):
            sender.write("stdout", _Slow("x" * 100), number)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(write, range(2))) == [None, None]
    sender.write("stdout", "last", 10_000)
    assert b"last" in sent[-1]


def test_a_worker_that_does_not_read_blocks_no_writer(parent: int, runtime: Path, worker: Listener) -> None:
    worker.close()
    (worker.folder / "socket").unlink()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(worker.folder / "socket"))
        silent.listen()
        sender = ConsoleLink()
        for number in range(5000):
            sender.write("stdout", f"{number:0999}\n", number)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(60)
            received = connection.recv(100)
            assert b"ProcessJoined" in received
            waiting = sender.take()
            assert sum(len(text) for _, text, _ in waiting) <= link.MOST_CHARACTERS
            assert waiting[-1][2] == 4999
    sender.close()


def test_a_worker_that_accepts_no_connection_blocks_no_writer(
    parent: int, worker: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped, and the queue of its socket is full."""
    timeouts: list[float | None] = []

    class Socket(socket.socket):
        def connect(self, address: object, /) -> None:
            timeouts.append(self.gettimeout())
            super().connect(address)  # type: ignore[arg-type]

    worker.close()
    (worker.folder / "socket").unlink()
    with socket.socket(socket.AF_UNIX) as stopped, contextlib.ExitStack() as queue:
        stopped.bind(str(worker.folder / "socket"))
        stopped.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = queue.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(worker.folder / "socket"))
        monkeypatch.setattr(link.socket, "socket", Socket)
        sender = ConsoleLink()
        sender.write("stdout", "text\n", 1)
    assert timeouts == [0.0]
    assert sender.take() == [("stdout", "text\n", 1)]


def test_the_next_worker_is_found(parent: int, worker: Listener) -> None:
    sender = ConsoleLink()
    sender.write("stdout", "first\n", 1)
    worker.wait_for(2)
    worker.close()
    (worker.folder / "socket").unlink()
    successor = Listener(worker.folder)
    for number in range(20):  # the first ones find out that the connection is lost
        sender.write("stdout", f"{number}\n", number)
    assert isinstance(successor.wait_for(2)[0], ProcessJoined)
    assert ConsoleWritten("stdout", "19\n", 19) in successor.wait_for(20)
    sender.close()
    successor.close()


def test_a_descriptor_that_the_script_has_closed_is_not_written_to(parent: int, worker: Listener) -> None:
    """A daemon closes all descriptors, and the next socket that it opens gets the same number."""
    sender = ConsoleLink()
    sender.write("stdout", "first\n", 1)
    worker.wait_for(2)  # the next one comes over another connection
    assert sender._socket is not None
    number = sender._socket.get().fileno()
    here, there = socket.socketpair()
    with here, there:
        os.dup2(here.fileno(), number)
        sender.write("stdout", "second\n", 2)
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)
        texts = [each.text for each in worker.wait_for(4) if isinstance(each, ConsoleWritten)]
        assert sorted(texts) == ["first\n", "second\n"]  # over two connections
        os.close(number)
    sender.close()


def test_a_forked_child_has_a_connection_of_its_own(parent: int, worker: Listener) -> None:
    sender = ConsoleLink()
    sender.write("stdout", "parent\n", 1)
    child = os.fork()
    if child == 0:
        sender.write("stdout", "child\n", 2)
        os._exit(0)
    os.waitpid(child, 0)
    sender.write("stdout", "parent\n", 3)
    records = worker.wait_for(5)
    # This process has left a mark, and is the nearest with a run.
    assert {each.parent for each in records if isinstance(each, ProcessJoined)} == {parent, os.getpid()}
    assert {each.pid for each in records if isinstance(each, ProcessJoined)} == {os.getpid(), child}
    sender.close()
