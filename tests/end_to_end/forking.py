"""The fork server's loop: it forks processes, and is their parent.

Standard library only, as `fork_server_program.py`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from typing import Any, NoReturn

from tests_hand_over import FRAME, receive

Start = Callable[[dict[str, Any], list[int], int], NoReturn]
"""Goes on as the process of a request, with the descriptors that came with it; the last one is the server's own."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals for a script, where its whole group is signalled: the server is in that group, too."""


def serve(
    start: Start, listener: socket.socket, others: dict[socket.socket, Callable[[], None]], folder: str = ""
) -> NoReturn:
    """Serve a socket; the others are served by processes that first load more, as soon as they are asked for."""
    tempfile.tempdir = None
    server = _Server(start, listener, others, folder)
    gc.collect()
    gc.freeze()  # neither the children's collections nor their ends look through what is loaded here
    server.serve()


class _Server:
    """Forks a process for each request, and reports how it ended, which only its parent learns.

    No process between them waits for that: the fork of one with all these libraries takes 20 ms of CPU time.
    """

    def __init__(
        self, start: Start, listener: socket.socket, others: dict[socket.socket, Callable[[], None]], folder: str
    ) -> None:
        self._start, self._listener, self._others, self._folder = start, listener, others, folder
        self._asking: set[socket.socket] = set()
        self._running: dict[int, socket.socket] = {}
        self._followed: dict[socket.socket, int] = {}
        """Processes that end with the one that follows them, which is at the other end."""
        self._ended, wake = socket.socketpair()
        self._own = [listener, *others, self._ended, wake]
        self._before = {number: signal.getsignal(number) for number in (signal.SIGCHLD, *_IGNORED)}
        for each in (self._ended, wake):
            each.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def serve(self) -> NoReturn:
        """Serve the sockets until standard input is closed."""
        while True:
            sources = [self._listener, *self._others, self._ended, *self._asking, *self._followed, 0]
            ready = set(select.select(sources, [], [])[0])
            if 0 in ready:
                shutil.rmtree(self._folder, ignore_errors=True)
                os._exit(0)
            for other in self._others.keys() & ready:
                self._begin(other)
            for connection in self._followed.keys() & ready:  # the process that follows this one is gone
                os.kill(self._followed.pop(connection), signal.SIGKILL)
            for connection in self._asking & ready:
                self._asking.remove(connection)
                request: dict[str, Any] = {}
                with contextlib.suppress(OSError, AssertionError):  # the process that asks is gone
                    request, received = _read(connection)
                if request:
                    self._answer(connection, request, received)
            if self._listener in ready:
                self._asking.add(self._listener.accept()[0])
            if self._ended in ready:
                self._ended.recv(4096)
                self._wait()

    def _begin(self, other: socket.socket) -> None:
        """Start the server of another socket, which first loads more."""
        load = self._others.pop(other)
        if self._fork({other}) == 0:
            load()
            serve(self._start, other, {})
        other.close()

    def _answer(self, connection: socket.socket, request: dict[str, Any], received: list[int]) -> None:
        """Start the process that a connection asks for."""
        pid = self._fork({connection})
        if pid == 0:
            self._start(request, received, connection.detach())
        for descriptor in received:
            os.close(descriptor)
        self._running[pid] = connection
        if "followed" in request:
            self._followed[connection] = pid
        with contextlib.suppress(OSError):  # the tests are over
            connection.sendall(pid.to_bytes(8, "little"))

    def _fork(self, kept: set[socket.socket]) -> int:
        """Fork; the new process has none of the server's sockets but these, and signals do what they do by default."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)  # one that comes too early would be lost
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            for each in {*self._own, *self._asking, *self._running.values()} - kept:
                each.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
        return pid

    def _wait(self) -> None:
        """Report the statuses of processes that have ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                connection = self._running.pop(pid, None)
                if connection is None:  # another server
                    continue
                self._followed.pop(connection, None)
                with connection, contextlib.suppress(OSError):  # the tests are over
                    connection.sendall(status.to_bytes(8, "little"))


def _read(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    frame, received, _, _ = socket.recv_fds(connection, FRAME.size, 64)
    frame += receive(connection, FRAME.size - len(frame)) if len(frame) < FRAME.size else b""
    return json.loads(receive(connection, FRAME.unpack(frame)[0])), received
