"""Start the worker, or connect to the one that is there: a detached process, or a thread where that is asked for.

All processes with the same key (`transport.worker_key`) use one worker, found by its folder. A process that finds none
takes the folder's lock, looks once more, and starts it: processes that start in the same moment end with one worker.

The process is started through a double fork, so that `os.wait`, `psutil.children()` and job control of the training
process never see it, and with `-I`, so that it loads nothing of the working directory or of `PYTHON*` variables. It
works in `/`: the training's own directory may be deleted while the worker still delivers (a ClearML agent does so for
its next job), and every call that asks for the working directory would fail from then on.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from autoinstrument.transport import own_python, peer
from autoinstrument.transport.forkable_threads import ThreadStopsError
from autoinstrument.transport.sockets import above_streams
from autoinstrument.transport.worker_folder import WorkerFolder
from autoinstrument.worker import program

_CONNECT_S, _DETACH_S = 10.0, 30.0
_SETTLE_S = 0.02
"""Pause between two looks whether the thread that waits for a worker's start must stop."""
_LOOK_S = 0.001
"""Pause between two looks for a worker that another process is starting, which takes about a millisecond."""
_BACKLOG = 4096
"""Connections that wait for a worker to start; Linux cuts it to `net.core.somaxconn`."""
_ONLY_A_THREAD = "the worker is a thread, and has one connection"


class WorkerHandle:
    """A worker that was started or found.

    Attributes:
        folder: where its socket is, and what it shares with its training processes.
    """

    def __init__(
        self,
        folder: WorkerFolder,
        *,
        process: subprocess.Popen[bytes] | None = None,
        connection: socket.socket | None = None,
        is_thread: bool = False,
    ) -> None:
        """Hold a worker.

        Args:
            folder: its folder.
            process: what must be waited for once, if it was started here.
            connection: returned by the first call of `connect`.
            is_thread: it is a thread of this process.
        """
        self.folder = folder
        self._process = process
        self._connection = connection
        self._started_by = os.getpid() if process is not None else None
        self._thread_of = os.getpid() if is_thread else None

    @property
    def is_thread(self) -> bool:
        """True if the worker ends with this process."""
        return self._thread_of is not None

    def serves_this_process(self) -> bool:
        """Return False in a forked child of a process whose worker is a thread, which the child does not have."""
        return self._thread_of in (None, os.getpid())

    def publish(self, run_id: str) -> None:
        """Let other processes of this user on this machine find the run's worker.

        Raises:
            OSError: the folder is gone.
        """
        if self._thread_of is None:
            self.folder.publish(run_id)

    def settle(self, stops: Callable[[], bool] = lambda: False) -> None:
        """Wait for the double fork to finish, about 10 ms; not for the training thread.

        Args:
            stops: returns True if the thread must stop now.

        Raises:
            OSError: the worker did not start.
            ThreadStopsError: the thread must stop; it must call this again.
        """
        end = time.monotonic() + _DETACH_S
        while self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code, self._process = self._process.wait(_SETTLE_S), None
                if code != 0:
                    self.leave()
                    raise OSError(f"the worker did not start (exit code {code} of {sys.executable})")
            if self._process is not None and stops():
                raise ThreadStopsError
            if time.monotonic() > end:
                self._process = None
                raise TimeoutError(f"the worker did not start within {_DETACH_S:.0f} s")

    def leave(self) -> None:
        """Remove what a worker of this process alone has left behind when it died; a shared one's successor does it."""
        if self._started_by == os.getpid() and not self.folder.is_shared:
            self.folder.remove()

    def connect(self) -> socket.socket:
        """Return a new connection to the worker.

        Raises:
            OSError: the worker does not listen any more.
        """
        if self._connection is not None:
            connection, self._connection = self._connection, None
            return connection
        if self.is_thread:
            raise OSError(_ONLY_A_THREAD)
        return _connect(self.folder)


def start(kind: str) -> WorkerHandle:
    """Start a worker for this process and its children alone.

    A process can be connected to at once: its socket listens before the process exists.

    Args:
        kind: "process" or "thread", as `AUTOINSTRUMENT_WORKER` has it; without an interpreter, and on Windows, the
            worker is always a thread.

    Raises:
        OSError: no folder, no socket or no process could be made.
    """
    folder = WorkerFolder.private()
    try:
        if own_python.worker_kind(kind) == "process":
            return WorkerHandle(folder, process=_start_process(folder))
        return WorkerHandle(folder, connection=_start_thread(folder), is_thread=True)
    except BaseException:
        folder.remove()
        raise


def share(wait_s: float) -> WorkerHandle | None:
    """Return the worker process that all processes with this one's key use, connected to; start it if there is none.

    Args:
        wait_s: seconds to wait at most while another process starts or ends the worker.

    Returns:
        None where no worker can be shared: this process has no folder for it, or what is there is not this user's.

    Raises:
        TimeoutError: the other process was not ready in time.
        OSError: no socket or no process could be made.
    """
    end = time.monotonic() + wait_s
    folder = WorkerFolder.shared()
    while folder is not None:
        if folder.is_trusted():
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                return WorkerHandle(folder, connection=_connect(folder))
        try:
            folder.make()
        except OSError:
            return None
        with folder.try_lock() as is_locked:
            if is_locked and (found := _join_or_start(folder)) is not None:
                return found
        if time.monotonic() > end:
            raise TimeoutError("another process was about to start the worker, and did not")
        time.sleep(_LOOK_S)
    return None


def _join_or_start(folder: WorkerFolder) -> WorkerHandle | None:
    """Connect to a worker, or start it; for the holder of the folder's lock. Return None if too many others connect."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        try:
            return WorkerHandle(folder, connection=_connect(folder))
        except BlockingIOError:
            return None
    folder.clear()
    try:
        process = _start_process(folder)
    except BaseException:
        folder.discard()
        raise
    return WorkerHandle(folder, process=process, connection=_connect(folder))


def find(run_id: str) -> WorkerHandle | None:
    """Return the worker that another process of this user on this machine has published for a run, None for none."""
    folder = WorkerFolder.of_run(run_id)
    return WorkerHandle(folder) if folder is not None else None


def _connect(folder: WorkerFolder) -> socket.socket:
    """Return a new connection to a folder's worker.

    Raises:
        FileNotFoundError, ConnectionRefusedError: there is no worker.
        BlockingIOError: too many other processes wait to be connected.
        OSError: there are no descriptors left.
    """
    if sys.platform == "win32":
        raise OSError(_ONLY_A_THREAD)
    connection = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(folder.socket)
        peer.check(connection)
    except OSError:
        connection.close()
        raise
    return connection


def _start_process(folder: WorkerFolder) -> subprocess.Popen[bytes]:
    python = own_python.interpreter()
    if sys.platform == "win32" or python is None:
        raise OSError(_ONLY_A_THREAD)
    listener = above_streams(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with listener:
        listener.bind(folder.socket)
        listener.listen(_BACKLOG)
        arguments = [str(listener.fileno()), str(folder.path), json.dumps(own_python.import_path()), python]
        # A signal to all processes of a job must not end the worker before it ignores signals, some milliseconds after
        # its start: it inherits this thread's mask, and lifts it then. The mask is read first, because a handler of the
        # script's may raise from within the call that sets it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            return subprocess.Popen(
                [own_python.shown_as(python, "autoinstrument worker"), "-I", "-S", _program(folder), *arguments],
                executable=python,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=own_python.lasting_environment(),
                pass_fds=[listener.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _program(folder: WorkerFolder) -> str:
    """Return the path of the worker's program: a copy in the worker's folder if it is inside a zip archive."""
    if os.path.isfile(program.__file__):  # noqa: PTH113
        return program.__file__
    copy = folder.path / "program.py"
    copy.write_text(inspect.getsource(program), "utf-8")
    return str(copy)


def _start_thread(folder: WorkerFolder) -> socket.socket:
    from autoinstrument.worker.service import serve

    here, there = map(above_streams, socket.socketpair())
    threading.Thread(target=serve, args=(there, folder.path), name="autoinstrument-worker", daemon=True).start()
    return here
